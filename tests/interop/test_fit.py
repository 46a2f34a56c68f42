"""A group fitted to a trace spreads as the trace does: made from known laws, they come back."""

from __future__ import annotations

import numpy as np
import pytest

from simfl.errors import TraceError
from simfl.fleet.options import GroupOptions
from simfl.fleet.presence.diurnal import DiurnalOptions
from simfl.fleet.presence.onoff import OnOffOptions
from simfl.fleet.traces import Trace
from simfl.interop.fit import fit
from simfl.interop.flash import presence
from simfl.streams import Streams

DAY_S = 86400.0


def lognormals(rng, n, rho):
    z = rng.standard_normal((n, 2))
    return z[:, 0], rho * z[:, 0] + np.sqrt(1 - rho**2) * z[:, 1]


def test_capacities_come_back():
    rng = np.random.default_rng(1)
    down, up = lognormals(rng, 20_000, 0.4)
    columns = {
        "train_gflops": 5.0 * np.exp(0.9 * rng.standard_normal(20_000)),
        "down_mbps": 30.0 * np.exp(0.5 * down),
        "up_mbps": 8.0 * np.exp(0.7 * up),
    }
    found = fit(Trace("capacity", columns))
    assert found.group["compute"] == pytest.approx({"gflops": 5.0, "spread_sigma": 0.9}, rel=0.03)
    network = {"down_mbps": 30.0, "down_sigma": 0.5, "up_mbps": 8.0, "up_sigma": 0.7,
               "correlation": 0.4}  # fmt: skip
    assert found.group["network"] == pytest.approx(network, rel=0.03)
    assert max(found.distances.values()) < 0.01
    GroupOptions.model_validate(found.group)


def test_a_law_that_is_not_lognormal_is_told_by_its_distance():
    half = np.repeat([1.0, 100.0], 500)
    assert fit(Trace("capacity", {"train_gflops": half})).distances["compute"] > 0.3


def test_recordings_come_back():
    """Levels of sigma 0.6, and around each a variation of 0.5 from sample to sample."""
    rng = np.random.default_rng(2)
    levels = 4.0 * np.exp(0.6 * rng.standard_normal(300))
    samples = levels[:, None] * rng.gamma(4.0, 0.25, (300, 400))
    columns = {
        "trace": np.repeat(np.arange(300), 400),
        "t_s": np.tile(np.arange(1.0, 401.0), 300),
        "down_mbps": samples.ravel(),
    }
    network = fit(Trace("bandwidth", columns)).group["network"]
    assert network["down_mbps"] == pytest.approx(4.0, rel=0.1)
    assert network["down_sigma"] == pytest.approx(0.6, rel=0.1)
    assert network["jitter_sigma"] == pytest.approx(np.sqrt(np.log1p(0.25)), rel=0.05)


def watched(part, n, days):
    """What a recorder would write down of n devices."""
    devices = []
    for i in range(n):
        spans, t = [], 0.0
        while t < days * DAY_S:
            on, until_s = part.spell(i, t)
            spans += [(t, min(until_s, days * DAY_S))] if on else []
            t = until_s
        devices.append((spans, days * DAY_S))
    return presence(devices)


def test_spells_by_chance_come_back():
    part = OnOffOptions(mean_on_s=1200.0, mean_off_s=3000.0).part(Streams(3), range(60))
    options = fit(watched(part, 60, 4)).group["presence"]
    assert options["kind"] == "onoff"
    assert options["mean_on_s"] == pytest.approx(1200.0, rel=0.05)
    assert options["mean_off_s"] == pytest.approx(3000.0, rel=0.05)


def test_nights_come_back():
    made = DiurnalOptions(
        mean_hours=7.0, start_hour=22.5, spread_hours=1.5, jitter_hours=0.7, sigma=0.3
    )
    trace = watched(made.part(Streams(3), range(300)), 300, 10)
    group = fit(trace).group
    found = DiurnalOptions.model_validate(group["presence"])
    assert found.mean_hours == pytest.approx(7.0, rel=0.05)
    assert found.start_hour == pytest.approx(22.5, abs=0.3)
    assert found.spread_hours == pytest.approx(1.5, rel=0.2)
    assert found.jitter_hours == pytest.approx(0.7, rel=0.25)
    assert found.sigma == pytest.approx(0.3, rel=0.25)


def test_presence_that_was_watched_for_unknown_times_cannot_be_fitted():
    columns = {"device": np.array([0]), "start_s": np.array([0.0]), "end_s": np.array([5.0])}
    with pytest.raises(TraceError, match="period_s"):
        fit(Trace("presence", columns, {"devices": 1}))
