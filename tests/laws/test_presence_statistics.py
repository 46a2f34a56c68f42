"""Presence has the means and the distributions that it promises."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from simfl.fleet.presence.diurnal import DiurnalOptions
from simfl.fleet.presence.onoff import OnOffOptions, Poisson
from simfl.streams import Streams

HOUR_S, DAY_S = 3600.0, 86400.0
DEVICES = range(100, 4100)


def spells(part, i: int, n: int) -> tuple[list[float], list[float]]:
    """Lengths of the first n whole spells: present, away."""
    t, lengths = part.spell(i, 0.0)[1], ([], [])
    for _ in range(n):
        on, until_s = part.spell(i, t)
        lengths[not on].append(until_s - t)
        t = until_s
    return lengths


@pytest.mark.parametrize(("mean_on_s", "mean_off_s"), [(600.0, 1800.0), (5.0, 3000.0)])
def test_on_and_off_spells_are_exponential_with_their_means(mean_on_s, mean_off_s):
    part = OnOffOptions(mean_on_s=mean_on_s, mean_off_s=mean_off_s).part(Streams(1), DEVICES)
    on, off = spells(part, 17, 2000)
    assert stats.kstest(on, stats.expon(scale=mean_on_s).cdf).pvalue > 0.01
    assert stats.kstest(off, stats.expon(scale=mean_off_s).cdf).pvalue > 0.01
    assert abs(stats.pearsonr(on, off).statistic) < 3 / len(on) ** 0.5


def test_on_and_off_is_stationary_from_the_start():
    """P(on) = on / (on + off) at every t; states correlate as exp(-lag (1 / on + 1 / off))."""
    part = OnOffOptions(mean_on_s=600.0, mean_off_s=1800.0).part(Streams(2), DEVICES)
    lag_s = 300.0
    for t in (0.0, 1.0, 450.0, 1e6):
        now, later = part.mask(t), part.mask(t + lag_s)
        assert now.mean() == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / len(DEVICES)) ** 0.5)
        decay = np.exp(-lag_s * (1 / 600.0 + 1 / 1800.0))
        assert np.corrcoef(now, later)[0, 1] == pytest.approx(decay, abs=0.06)


def test_the_first_spell_left_over_is_memoryless():
    part = OnOffOptions(mean_on_s=600.0, mean_off_s=1800.0).part(Streams(3), DEVICES)
    first = [part.spell(i, 0.0) for i in range(len(DEVICES))]
    for present, mean_s in ((True, 600.0), (False, 1800.0)):
        left = [until_s for on, until_s in first if on is present]
        assert stats.kstest(left, stats.expon(scale=mean_s).cdf).pvalue > 0.01


def test_points_of_a_poisson_process_are_as_many_as_they_should_be():
    """Counts in windows that cut cells have mean and variance equal to length / mean gap."""
    process = Poisson(Streams(4), "arrivals", 100.0)
    counts = []
    for device in range(2000):
        t, n = 333.0, -1
        while t <= 1333.0:
            t, n = process.next(device, t), n + 1
        counts.append(n)
    assert np.mean(counts) == pytest.approx(10.0, abs=0.3)
    assert np.var(counts) == pytest.approx(10.0, rel=0.1)


def test_a_diurnal_device_is_there_its_mean_hours_a_day():
    part = DiurnalOptions(mean_hours=8.0).part(Streams(5), DEVICES)
    share = np.mean([part.mask(t).mean() for t in np.arange(1.0, 5 * DAY_S, 601.0)])
    assert share == pytest.approx(8.0 / 24.0, abs=0.003)


def test_without_chance_every_night_is_the_same():
    part = DiurnalOptions(
        mean_hours=8.0, start_hour=22.5, spread_hours=0.0, jitter_hours=0.0, sigma=0.0
    ).part(Streams(6), DEVICES)
    for day in range(-1, 4):
        evening_s = day * DAY_S + 22.5 * HOUR_S
        assert part.spell(3, evening_s) == (True, evening_s + 8 * HOUR_S)
        assert part.spell(3, evening_s - 1.0) == (False, evening_s)
        assert part.spell(3, evening_s + 8 * HOUR_S) == (False, evening_s + DAY_S)


def test_nights_begin_and_last_as_the_options_say():
    options = DiurnalOptions(mean_hours=6.0, spread_hours=1.0, jitter_hours=0.5, sigma=0.3)
    part = options.part(Streams(7), DEVICES)
    starts, lengths = [], []
    for i in range(len(DEVICES)):
        start_s = part.spell(i, 2.6 * DAY_S)[1]  # it is early afternoon
        starts.append(start_s / HOUR_S - 2 * 24.0)
        lengths.append((part.spell(i, start_s)[1] - start_s) / HOUR_S)
    assert np.mean(starts) == pytest.approx(22.5, abs=0.08)
    assert np.std(starts) == pytest.approx((1.0 + 0.25) ** 0.5, rel=0.05)
    assert np.mean(lengths) == pytest.approx(6.0, rel=0.02)
    assert np.std(np.log(lengths)) == pytest.approx(0.3, rel=0.05)
