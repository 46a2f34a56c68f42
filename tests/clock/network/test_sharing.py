"""Shares are max-min fair after any history, bytes are conserved, and nobody exceeds a cap."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simfl.clock.events import Clock, Kind
from simfl.clock.network.sharing import SharedLink


def progressive_filling(caps, cell_of, cells, server):
    """The reference: all rates rise together, and each stops at its first full capacity."""
    n = len(caps)
    rates, growing = np.zeros(n), np.ones(n, bool)
    groups = [np.ones(n, bool), *(np.array(cell_of) == c for c in range(len(cells)))]
    limits = [server, *cells]
    while growing.any():
        room = [caps[i] - rates[i] for i in range(n) if growing[i]]
        for limit, group in zip(limits, groups, strict=True):
            if limit < inf and (group & growing).any():
                room.append((limit - rates[group].sum()) / (group & growing).sum())
        step = max(0.0, min(room))
        if step == inf:
            rates[growing] = inf
            break
        rates[growing] += step
        full = rates >= np.array(caps) * (1 - 1e-12)
        for limit, group in zip(limits, groups, strict=True):
            if limit < inf and rates[group].sum() >= limit * (1 - 1e-12):
                full |= group
        growing &= ~full
    return rates


@dataclass
class Bench:
    """A link, a clock to play it, and who came through when."""

    server: float = inf
    cells: list[float] = field(default_factory=list)

    def __post_init__(self):
        self.clock = Clock()
        self.link = SharedLink(self.clock, "down", self.server, self.cells)
        self.link.done = self._done
        self.clock.handlers["test.call"] = lambda call: call()
        self.ended: dict[int, float] = {}

    def start(self, serial, nbytes, cap, cell=-1):
        self.link.start(SimpleNamespace(serial=serial), nbytes, cap, cell)

    def _done(self, task):
        self.ended[task.serial] = self.clock.now

    def at(self, t, call):
        self.clock.at(t, Kind.TASK, 0, "test.call", call)

    def play(self, until=inf):
        while self.clock._queue and self.clock._queue[0][0] <= until:
            self.clock.advance()
        return self.ended


rate = st.one_of(st.floats(1.0, 1e3), st.sampled_from([1.0, 2.0, 10.0, 50.0]))
nets = st.tuples(st.lists(rate, max_size=4), st.one_of(st.just(inf), st.floats(1.0, 3e3)))
flows = st.lists(st.tuples(rate | st.just(inf), st.integers(-1, 3)), min_size=1, max_size=12)


def placed(cell, cells):
    return cell if cell < len(cells) else -1


@settings(max_examples=1000)
@given(nets, flows, st.data())
def test_rates_are_those_of_progressive_filling_after_any_history(net, given_flows, data):
    """Flows start, stop and change their caps, cells their sizes; at each instant all is fair."""
    cells, server = list(net[0]), net[1]
    bench = Bench(server, cells)
    there: dict[int, tuple[float, int]] = {}
    for serial, (cap, cell) in enumerate(given_flows):
        endless = cap == server == inf and placed(cell, cells) < 0
        there[serial] = (1e3 if endless else cap, placed(cell, cells))
        bench.start(serial, 1e9, *there[serial])
        what = data.draw(st.sampled_from(["nothing", "stop", "recap", "resize", "share"]))
        one = data.draw(st.sampled_from(sorted(there)))
        if what == "stop":
            bench.link.stop(SimpleNamespace(serial=one))
            del there[one]
        elif what == "recap":
            there[one] = (data.draw(rate), there[one][1])
            bench.link.recap(SimpleNamespace(serial=one), there[one][0])
        elif what == "resize" and cells:
            which = data.draw(st.integers(0, len(cells) - 1))
            cells[which] = data.draw(rate)
            bench.link.resize(which, cells[which])
        if what == "share":
            bench.play(until=bench.clock.now)
        if not there:
            return
    bench.play(until=bench.clock.now)
    caps, cell_of = zip(*there.values(), strict=True)
    expected = progressive_filling(caps, cell_of, cells, server)
    found = bench.link.rates()
    np.testing.assert_allclose([found[serial] for serial in there], expected, rtol=1e-9)


def fluid(jobs, cells, server):
    """When each job (start, bytes, cap, cell) is through, by brute force: nothing is kept."""
    left = {i: job[1] for i, job in enumerate(jobs)}
    ended, now = {}, 0.0
    while left:
        on = [i for i in left if jobs[i][0] <= now]
        starts = [jobs[i][0] for i in left if jobs[i][0] > now]
        caps, cell_of = [jobs[i][2] for i in on], [jobs[i][3] for i in on]
        rates = dict(zip(on, progressive_filling(caps, cell_of, cells, server), strict=True))
        ends = [now + left[i] / rates[i] for i in on]
        then = min(ends + starts)
        for i in on:
            left[i] -= rates[i] * (then - now)
            if left[i] <= 1e-9 * jobs[i][1]:
                ended[i] = then
                del left[i]
        now = then
    return [ended[i] for i in range(len(jobs))]


jobs = st.lists(
    st.tuples(st.floats(0.0, 20.0), st.floats(1.0, 1e4), rate, st.integers(-1, 3)),
    min_size=1,
    max_size=10,
)


@settings(max_examples=300)
@given(nets, jobs)
def test_flows_end_when_a_fluid_computed_from_scratch_says(net, some):
    cells, server = net
    some = [(start, nbytes, cap, placed(cell, cells)) for start, nbytes, cap, cell in some]
    bench = Bench(server, cells)
    for serial, (start, *rest) in enumerate(some):
        bench.at(start, lambda serial=serial, rest=rest: bench.start(serial, *rest))
    ended = bench.play()
    assert [ended[i] for i in range(len(some))] == pytest.approx(fluid(some, cells, server))
    assert not bench.link.flows


@given(nets, jobs, st.floats(0.0, 30.0))
def test_no_byte_is_lost_or_made_by_stopping(net, some, stop_s):
    """What had passed by then and what a second transfer carries are all there was."""
    cells, server = net
    bench = Bench(server, cells)
    for serial, (start, nbytes, cap, cell) in enumerate(some):
        place = placed(cell, cells)
        bench.at(start, lambda s=serial, n=nbytes, c=cap, p=place: bench.start(s, n, c, p))
    bench.play(until=stop_s)
    now = bench.clock.now
    for serial in list(bench.link.flows):
        start, nbytes, cap, _ = some[serial]
        left = bench.link.stop(SimpleNamespace(serial=serial))
        assert nbytes - cap * (now - start) - 1e-6 <= left <= nbytes
    assert not bench.link.flows
    bench.play(until=now)
    assert bench.link.rates() == {}
    assert bench.link._asked == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("k", [1, 2, 7, 50])
@pytest.mark.parametrize("where", ["server", "cell"])
def test_k_equal_flows_take_k_times_as_long(k, where):
    """K S / C, all at the same instant."""
    bench = Bench(100.0, [inf]) if where == "server" else Bench(inf, [100.0])
    for serial in range(k):
        bench.start(serial, 500.0, 100.0, 0)
    ended = bench.play()
    assert len(set(ended.values())) == 1
    assert ended[0] == pytest.approx(k * 5.0, rel=1e-12)


def test_a_flow_that_nobody_disturbs_takes_exactly_its_own_time():
    bench = Bench(1e6, [1e5])
    bench.start(0, 997.0, 31.0, 0)
    assert bench.play() == {0: 997.0 / 31.0}


def test_without_any_cap_a_transfer_takes_no_time():
    bench = Bench(inf, [inf])
    bench.start(0, 1e12, inf, 0)
    bench.start(1, 1e12, inf)
    assert bench.play() == {0: 0.0, 1: 0.0}


def test_a_cell_without_capacity_stalls_and_goes_on():
    """Nothing passes from 2 to 10 s: ten bytes a second, 50 bytes."""
    bench = Bench(inf, [10.0])
    bench.start(0, 50.0, 1e3, 0)
    bench.at(2.0, lambda: bench.link.resize(0, 0.0))
    bench.at(10.0, lambda: bench.link.resize(0, 10.0))
    assert bench.play() == {0: pytest.approx(13.0)}


def test_a_crowded_cell_leaves_the_others_alone(monkeypatch):
    """What starts in one cell is not computed in the other."""
    bench = Bench(inf, [10.0, 10.0])
    for serial in range(4):
        bench.start(serial, 50.0, 1e3, serial % 2)
    bench.play(until=0.0)
    quiet = bench.link._cells[1]
    monkeypatch.setattr(type(quiet), "fill", _not_of(quiet, type(quiet).fill))
    bench.start(9, 50.0, 1e3, 0)
    bench.play(until=0.0)
    assert list(bench.link.rates().values()) == pytest.approx([10 / 3, 5.0, 10 / 3, 5.0, 10 / 3])


def _not_of(quiet, fill):
    def checked(pipe, now_s):
        assert pipe is not quiet
        return fill(pipe, now_s)

    return checked


def test_flows_that_are_gone_are_forgotten():
    """Entries of heaps that are never looked at must not keep tasks alive."""
    bench = Bench(1e9, [1e9])
    for serial in range(2000):
        bench.at(float(serial), lambda s=serial: bench.start(s, 5.0, 10.0 + s, 0))
    bench.play()
    assert sum(len(pipe._fast) for pipe in bench.link._cells) < 100


def test_a_link_with_room_is_not_shared():
    bench = Bench(1e6, [1e6])
    bench.link._share = lambda _: pytest.fail("nobody feels this")
    for serial in range(5):
        bench.at(serial, lambda s=serial: bench.start(s, 50.0, 10.0, 0))
    assert len(bench.play()) == 5
