"""Every kind of presence is a pure function of device and time, whatever is asked in between."""

from __future__ import annotations

from math import fmod, inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simfl.errors import TraceError
from simfl.fleet.network.cells import CellOptions, OutageOptions
from simfl.fleet.presence.base import Always, Presence
from simfl.fleet.presence.diurnal import DiurnalOptions
from simfl.fleet.presence.intervals import Intervals
from simfl.fleet.presence.onoff import OnOffOptions
from simfl.fleet.presence.outages import Behind, outages
from simfl.streams import Streams

DEVICES = 6
HOUR_S, DAY_S = 3600.0, 86400.0


def recorded(period_s: float = 100.0) -> Intervals:
    """Nobody, all the time, over the wrap, at its edges, often, once."""
    rows = [
        [],
        [(0, 100)],
        [(0, 10), (90, 100)],
        [(20, 100)],
        [(5, 6), (7, 8), (9, 50)],
        [(30, 31)],
    ]
    starts, ends = np.array([edge for row in rows for edge in row], dtype=float).T
    offsets = np.cumsum([0] + [len(row) for row in rows])
    return Intervals(offsets, starts, ends, period_s)


def behind_cells(own=None) -> Behind:
    """Devices dealt to two cells, of which one fails now and then."""
    failing = CellOptions(name="a", outages=OutageOptions(mean_up_s=2000.0, mean_down_s=900.0))
    cells = outages(Streams(7), [CellOptions(name="b"), failing])
    return Behind(own or Always(DEVICES), cells, np.arange(DEVICES) % 2)


def with_periods_of_their_own() -> Intervals:
    """As a trace of phones that were watched for different times."""
    rows = [[(0, 3)], [(2, 7), (8, 9)], [(0, 30)], [], [(10, 80)], [(1, 2), (5, 90)]]
    starts, ends = np.array([edge for row in rows for edge in row], dtype=float).T
    offsets = np.cumsum([0] + [len(row) for row in rows])
    return Intervals(offsets, starts, ends, np.array([3.0, 9.0, 77.5, 5.0, inf, 90.0]))


KINDS = {
    "each its period": with_periods_of_their_own,
    "always": lambda: Always(DEVICES),
    "recorded": recorded,
    "recorded once": lambda: recorded(inf),
    "nights": lambda: DiurnalOptions(mean_hours=8.0).part(Streams(3), range(10, 10 + DEVICES)),
    "long days": lambda: DiurnalOptions(
        mean_hours=21.0, start_hour=1.0, spread_hours=9.0, jitter_hours=4.0, sigma=1.0
    ).part(Streams(4), range(DEVICES)),
    "by chance": lambda: OnOffOptions(mean_on_s=600.0, mean_off_s=3000.0).part(
        Streams(5), range(10, 10 + DEVICES)
    ),
    "behind a cell that fails": lambda: behind_cells(),
    "nights behind a cell": lambda: behind_cells(
        DiurnalOptions(mean_hours=8.0).part(Streams(3), range(10, 10 + DEVICES))
    ),
    "rarely away": lambda: OnOffOptions(mean_on_s=7000.0, mean_off_s=5.0).part(
        Streams(6), range(DEVICES)
    ),
}
each_kind = pytest.mark.parametrize("kind", KINDS)
times = st.floats(0.0, 20 * DAY_S) | st.floats(0.0, 400.0) | st.integers(0, 400).map(float)
queries = st.lists(st.tuples(st.integers(0, DEVICES - 1), times), min_size=1, max_size=30)

#: One object of each kind that has met every query of every test before.
USED = {kind: make() for kind, make in KINDS.items()}


def presence_of(part) -> Presence:
    return Presence([part], [0], np.zeros(DEVICES, np.int32))


@each_kind
@given(asked=queries)
def test_an_answer_does_not_depend_on_what_was_asked_before(kind, asked):
    """Out of order, at any spacing: a cursor that only moves forward fails here."""
    for i, t in asked:
        assert USED[kind].spell(i, t) == KINDS[kind]().spell(i, t)


@each_kind
@given(asked=queries)
def test_every_answer_follows_from_the_spell(kind, asked):
    presence = presence_of(USED[kind])
    for i, t in asked:
        on, until_s = USED[kind].spell(i, t)
        assert until_s > t
        assert presence.is_on(i, t) == on == presence.mask(t)[i]
        assert presence.off_after(i, t) == (until_s if on else t)
        assert presence.on_after(i, t) == (t if on else until_s)


@each_kind
@given(asked=queries, shares=st.lists(st.floats(0.0, 1.0, exclude_max=True), max_size=5))
def test_a_spell_lasts_until_its_end_and_not_longer(kind, asked, shares):
    """So a device that waits for its next spell always gets on."""
    part = USED[kind]
    for i, t in asked:
        on, until_s = part.spell(i, t)
        if until_s < inf:
            assert part.spell(i, until_s)[0] is not on
        for share in shares:
            inside = t + share * (min(until_s, t + 1e6) - t)
            assert inside >= until_s or part.spell(i, inside) == (on, until_s)


def by_modulo(part: Intervals, i: int):
    """Is any interval around t, by looking at all of them."""
    low, high = part._offsets[i : i + 2]
    return lambda t: any(
        start <= fmod(t, part._periods[i]) < end
        for start, end in zip(part._starts[low:high], part._ends[low:high], strict=True)
    )


def by_windows(part, i: int):
    """Is any window of any day around t."""
    windows = [part._window(i, day) for day in range(-3, 15)]
    return lambda t: any(start <= t < end for start, end in windows)


def by_events(part, i: int):
    """What the last arrival or departure was, of all since long ago."""
    events = []
    for process, present in ((part._arrivals, True), (part._departures, False)):
        cells = range(int(-1e6 // process._cell_s), int(6e5 // process._cell_s))
        events += [(t, present) for c in cells for t in process._points(part._devices[i], c)]
    return lambda t: max(event for event in events if event[0] <= t)[1]


def by_both(part, i: int):
    """Is the device there, and its cell up, each by itself."""
    cell = part._cells[part._cell_of[i]]
    return lambda t: part.own.spell(i, t)[0] and cell.spell(0, t)[0]


BRUTE = {
    "behind a cell that fails": (by_both, np.arange(0.0, 5e5, 3011.0)),
    "nights behind a cell": (by_both, np.arange(0.0, 5e5, 3011.0)),
    "recorded": (by_modulo, np.arange(0.0, 400.0, 0.5)),
    "each its period": (by_modulo, np.arange(0.0, 400.0, 0.5)),
    "recorded once": (by_modulo, np.arange(0.0, 400.0, 0.5)),
    "nights": (by_windows, np.arange(0.0, 10 * DAY_S, 997.0)),
    "long days": (by_windows, np.arange(0.0, 10 * DAY_S, 997.0)),
    "by chance": (by_events, np.arange(0.0, 5e5, 30011.0)),
}


@pytest.mark.parametrize("kind", BRUTE)
@pytest.mark.parametrize("every", [1, 3, 10, 60])
def test_presence_is_what_looking_at_everything_finds(kind, every):
    """At any spacing, twice: in order, and backwards."""
    reference, ticks = BRUTE[kind]
    ticks = ticks[::every].tolist()
    for i in range(DEVICES):
        part = KINDS[kind]()
        truth = list(map(reference(part, i), ticks))
        assert [part.spell(i, t)[0] for t in ticks] == truth
        assert [part.spell(i, t)[0] for t in reversed(ticks)] == truth[::-1]


@each_kind
def test_following_the_spells_meets_every_change(kind):
    """Walked from end to end, spells alternate and say what a fine clock sees."""
    ticks = np.arange(0.0, 1000.0, 7.0) if "recorded" in kind else np.arange(0.0, 4e5, 701.0)
    for i in range(DEVICES):
        part, t, walked = KINDS[kind](), 0.0, []
        while t <= ticks[-1]:
            on, until_s = part.spell(i, t)
            walked += [on] * int(((ticks >= t) & (ticks < until_s)).sum())
            t = until_s
        assert walked == [USED[kind].spell(i, t)[0] for t in ticks.tolist()]


def test_recorded_intervals_join_over_the_wrap():
    part = recorded(100.0)
    assert part.spell(0, 5.0) == (False, inf)
    assert part.spell(1, 250.0) == (True, inf)
    assert part.spell(2, 95.0) == part.spell(2, 100.0) == (True, 110.0)
    assert part.spell(2, 110.0) == (False, 190.0)
    assert part.spell(3, 250.0) == (True, 300.0)
    assert part.spell(3, 300.0) == (False, 320.0)
    assert part.spell(5, 131.0) == (False, 230.0)


def test_recorded_intervals_may_end_for_good():
    part = recorded(inf)
    assert part.spell(2, 95.0) == (True, 100.0)
    assert part.spell(2, 100.0) == (False, inf)
    assert part.spell(2, inf) == (False, inf)


def test_a_week_of_wraps_does_not_drift():
    """Ten years later the intervals are where they were."""
    week = 7 * DAY_S
    part = Intervals(np.array([0, 1]), np.array([100.1]), np.array([200.3]), week)
    start, end = 100.1 * 1024 // 1 / 1024, 200.3 * 1024 // 1 / 1024
    for k in range(0, 520, 13):
        assert part.spell(0, k * week) == (False, pytest.approx(k * week + start, abs=1e-3))
        assert part.spell(0, k * week + 150.0) == (True, pytest.approx(k * week + end, abs=1e-3))


@pytest.mark.parametrize(
    ("starts", "ends"),
    [
        ([5.0], [5.0]),
        ([5.0], [101.0]),
        ([-1.0], [5.0]),
        ([1.0, 3.0], [3.0, 4.0]),
        ([6.0, 1.0], [7.0, 2.0]),
    ],
)
def test_intervals_out_of_order_say_whose_they_are(starts, ends):
    good = [50.0], [60.0]
    offsets = np.array([0, 1, 1 + len(starts)])
    with pytest.raises(TraceError, match="device 1: the interval from"):
        Intervals(offsets, np.array(good[0] + starts), np.array(good[1] + ends), 100.0)


def test_a_fleet_mixes_kinds_and_asks_each_about_its_own():
    parts = [KINDS[kind]() for kind in ("always", "recorded", "by chance")]
    group = np.repeat(np.arange(3, dtype=np.int32), DEVICES)
    presence = Presence(parts, [0, DEVICES, 2 * DEVICES], group)
    for t in (0.0, 95.0, 12345.0):
        spells = [part.spell(i, t) for part in parts for i in range(DEVICES)]
        assert [presence.is_on(d, t) for d in range(3 * DEVICES)] == [on for on, _ in spells]
        assert presence.mask(t).tolist() == [on for on, _ in spells]
        assert [max(presence.off_after(d, t), presence.on_after(d, t)) for d in range(18)] == [
            until_s for _, until_s in spells
        ]
    assert not presence.always
