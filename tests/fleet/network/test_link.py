from __future__ import annotations

from math import inf

import numpy as np
import pytest

from simfl.fleet.network.link import Link, LinkOptions, rates, spread

QUANTILES = (np.arange(20_000) + 0.5) / 20_000


def one(options: LinkOptions | None) -> Link:
    """The link of a fleet of one median device."""
    return Link([options], np.zeros(1, np.int32), *rates(options, np.zeros((1, 2))))


def test_a_megabit_is_a_million_bits():
    """8 Mbit/s carry 10**6 bytes in a second; with 2**20 bits they would carry 4.9 % more."""
    link = one(LinkOptions(down_mbps=8.0, up_mbps=1.0))
    assert link.down(0, 0.5, 0.5) == (0.0, 1_000_000.0)
    assert link.up(0, 0.5, 0.5) == (0.0, 125_000.0)


def test_without_a_network_transfers_take_no_time():
    assert one(None).down(0, 0.1, 0.9) == one(None).up(0, 0.1, 0.9) == (0.0, inf)


def test_a_steady_link_never_looks_at_the_draws():
    link = one(LinkOptions(down_mbps=20.0, up_mbps=5.0, latency_s=0.05))
    assert link.down(0, float("nan"), float("nan")) == (0.05, 2.5e6)


def test_rate_and_latency_vary_on_their_own_with_their_medians_kept():
    link = one(
        LinkOptions(down_mbps=8.0, up_mbps=8.0, latency_s=0.1, jitter_sigma=0.4, latency_sigma=0.2)
    )
    assert link.up(0, 0.5, 0.5) == (pytest.approx(0.1), pytest.approx(1e6))
    assert link.down(0, 0.9, 0.5)[0] == link.down(0, 0.1, 0.5)[0]
    draws = np.array([link.down(0, u, u) for u in QUANTILES])
    assert np.std(np.log(draws), axis=0) == pytest.approx([0.2, 0.4], rel=1e-3)


def test_devices_differ_by_the_stated_spread_and_correlation():
    options = LinkOptions(
        down_mbps=80.0, up_mbps=8.0, down_sigma=0.5, up_sigma=0.3, correlation=0.4
    )
    z = np.random.default_rng(1).standard_normal((100_000, 2))
    down, up = rates(options, z)
    assert np.median(down) == pytest.approx(1e7, rel=0.01)
    assert np.median(up) == pytest.approx(1e6, rel=0.01)
    assert np.log(down).std() == pytest.approx(0.5, rel=0.01)
    assert np.log(up).std() == pytest.approx(0.3, rel=0.01)
    assert np.corrcoef(np.log(down), np.log(up))[0, 1] == pytest.approx(0.4, abs=0.01)


def test_lost_packets_take_capacity_and_time():
    """A quarter lost: three bytes arrive for four that are sent."""
    link = one(LinkOptions(down_mbps=8.0, up_mbps=8.0, loss=0.25))
    assert link.down(0, 0.5, 0.5) == (0.0, 750_000.0)
    assert link.goodput(0) == 0.75


def test_overhead_is_spent_once_for_each_transfer():
    link = one(LinkOptions(down_mbps=8.0, up_mbps=8.0, latency_s=0.1, overhead_s=1.5))
    assert link.up(0, 0.5, 0.5) == (1.6, 1_000_000.0)


def test_a_link_without_a_trace_never_moves():
    assert one(LinkOptions(down_mbps=8.0, up_mbps=8.0)).swing(0, 5.0, up=True) == (1.0, inf)


def test_without_spread_every_device_is_exactly_the_median():
    assert (spread(0.0, np.array([-3.0, 0.1, 5.0])) == 1.0).all()
