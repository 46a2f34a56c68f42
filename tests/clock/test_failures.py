"""Retries, batteries, pauses and outages: what they cost and what they spare."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy import Busy, Rounds, ToyFleet, play

from simfl.clock.kernel import Limits, Plan
from simfl.clock.tasks.pauses import done_at, worked_s


def by(kernel, *names):
    return [tuple(row[name] for name in names) for row in kernel.rows]


def test_a_retry_begins_the_leg_anew_after_its_wait():
    """1 + 3 + 1 s of work; it fails at 4.5 s, half-way up, and sends all again from 6.5 s on."""
    fleet = ToyFleet([3.0], rate=1000.0, drop_share=0.9, retries=1, retry=(2.0, 0.0))
    (row,) = play(fleet, Rounds(1), versions=1).rows
    assert (row["outcome"], row["ended_s"]) == ("applied", 7.5)
    assert (row["download_s"], row["train_s"], row["upload_s"]) == (1.0, 3.0, 1.5)
    assert (row["down_bytes"], row["up_bytes"]) == (1000, 1500)


def test_when_retries_are_used_up_the_task_is_lost():
    fleet = ToyFleet([3.0], rate=1000.0, drop_share=0.1, retries=3, retry=(2.0, 1.0))
    row = play(fleet, Rounds(1), after_s=200.0).rows[0]
    assert (row["outcome"], row["cause"]) == ("lost", "drop-out")
    assert row["ended_s"] - sum(row[f"{p}_s"] for p in ("download", "train", "upload")) == (
        pytest.approx(3 * 2.0)
    )


@pytest.mark.parametrize("shared", [False, True])
def test_a_retry_on_a_shared_link_is_a_retry(shared):
    fleet = ToyFleet([3.0], rate=1000.0, drop_share=0.1, retries=1, retry=(2.0, 0.0))
    plan = Plan(Limits(versions=1), shared_links=shared)
    (row,) = play(fleet, Rounds(1), plan=plan).rows
    assert row["ended_s"] == pytest.approx(0.5 + 2.0 + 5.0)
    assert row["down_bytes"] == 1500


def test_a_lifetime_ends_a_task_that_waits_to_retry():
    """It fails at 0.5 s and would go on at 10.5 s."""
    fleet = ToyFleet([3.0], rate=1000.0, drop_share=0.1, lifetime_s=4.0, retries=1, retry=(10.0, 0))
    row = play(fleet, Rounds(1), after_s=5.0).rows[0]
    assert (row["ended_s"], row["cause"], row["phase"]) == (4.0, "hazard", "download")
    assert (row["download_s"], row["down_bytes"]) == (0.5, 500)


def test_an_empty_battery_ends_the_task_where_it_is_empty():
    """1 W all the way: 3.5 J last for the download and 2.5 s of training."""
    fleet = ToyFleet([3.0], rate=1000.0, battery=(3.5, 0.0, 1.0))
    row = play(fleet, Rounds(1), after_s=50.0).rows[0]
    assert (row["outcome"], row["cause"], row["phase"]) == ("lost", "battery", "train")
    assert (row["ended_s"], row["train_s"]) == (3.5, 2.5)


def test_a_battery_is_charged_before_the_next_task():
    """A task draws 4 J of 10 and 0.1 W flows in; it needs 5 J to begin."""
    fleet = ToyFleet([4.0], battery=(10.0, 0.1, 5.0))
    kernel = play(fleet, Rounds(1), versions=4)
    starts = [row["dispatched_s"] for row in kernel.rows]
    assert starts == pytest.approx([0.0, 4.0, 8.0 + 22.0, 34.0 + 36.0])


def test_a_battery_without_a_charger_ends_the_run():
    from simfl.errors import Stalled

    with pytest.raises(Stalled, match="no device will ever"):
        play(ToyFleet([4.0], battery=(10.0, 0.0, 5.0)), Rounds(1), versions=4)


@given(st.integers(1, 5), st.floats(3.0, 30.0), st.floats(0.0, 2.0), st.floats(0.1, 1.0))
def test_energy_adds_up(devices, full_j, charge_w, share):
    """Nobody spends more than was there at the beginning and has flowed in since."""
    fleet = ToyFleet([1.7 + i for i in range(devices)], rate=1000.0, drop_share=0.6)
    fleet = ToyFleet(fleet.train_s, rate=1000.0, battery=(full_j, charge_w, share * full_j))
    kernel = play(fleet, Busy(devices), plan=Plan(Limits(after_s=100.0, updates=200)))
    now = kernel.clock.now
    for device in range(devices):
        rows = [row for row in kernel.rows if row["device"] == device]
        spent = sum(row["energy_j"] for row in rows)
        assert spent <= full_j + charge_w * now + 1e-6
        level = kernel.server.batteries.level_j(device, now)
        assert -1e-9 <= level <= full_j
        if not charge_w and all(row["outcome"] != "in_flight" for row in rows):
            assert level == pytest.approx(full_j - spent, abs=1e-6)


def test_time_away_is_neither_work_nor_energy():
    fleet = ToyFleet([3.0], windows=[(0.0, 2.0), (10.0, 20.0)], offline="pause")
    (row,) = play(fleet, Rounds(1), versions=1).rows
    assert (row["ended_s"], row["train_s"], row["energy_j"]) == (11.0, 3.0, 3.0)


windows = st.lists(st.tuples(st.floats(0.01, 5.0), st.floats(0.01, 5.0)), min_size=1, max_size=20)


class Spells:
    """Present and away in turns."""

    def __init__(self, lengths):
        edges = np.cumsum([x for pair in lengths for x in pair]).tolist()
        self.on = list(zip([0.0, *edges[1:-1:2]], edges[::2], strict=True))

    def off_after(self, device, t):
        return next((b for a, b in self.on if a <= t < b), t)

    def on_after(self, device, t):
        return next((max(a, t) for a, b in self.on if t < b), inf)


@given(windows, st.floats(0.0, 10.0), st.floats(0.0, 20.0))
def test_paused_work_is_neither_lost_nor_doubled(lengths, start_s, work_s):
    spells = Spells(lengths)
    end_s = done_at(spells, 0, start_s, work_s)
    if end_s < inf:
        assert worked_s(spells, 0, start_s, end_s) == pytest.approx(work_s, abs=1e-9)


def test_a_full_battery_keeps_no_more_than_it_holds():
    """4 s of download at 1 W on a charger of 2 W, all of it full; then 10 s of training at 5 W."""
    fleet = ToyFleet([100.0], rate=250.0, battery=(30.0, 2.0, 1.0))
    fleet.energy.train_w = lambda i: 5.0
    row = play(fleet, Rounds(1), after_s=50.0).rows[0]
    assert (row["ended_s"], row["train_s"], row["cause"]) == (14.0, 10.0, "battery")


def test_a_battery_charges_while_its_task_pauses():
    """2 W net for 2 s, 3 W in for 8 s up to 10 J, and 2 W net again: empty after 5 s more."""
    fleet = ToyFleet([100.0], windows=[(0.0, 2.0), (10.0, 99.0)], offline="pause")
    fleet.energy.train_w = lambda i: 5.0
    fleet.energy.battery, fleet.energy.start_j = lambda i: (10.0, 3.0, 1.0), np.array([10.0])
    row = play(fleet, Rounds(1), after_s=50.0).rows[0]
    assert (row["ended_s"], row["train_s"], row["cause"]) == (15.0, 7.0, "battery")


@pytest.mark.parametrize("pauses", [False, True])
def test_a_battery_runs_empty_on_a_shared_link(pauses):
    """Two share 1,000 bytes a second, so that a message takes 2 s, at 1 W from 1.5 J."""
    windows = [(0.0, 1.0), (11.0, 99.0)] if pauses else None
    fleet = ToyFleet([1.0, 1.0], battery=(1.5, 0.0, 0.1), windows=windows, offline="pause")
    plan = Plan(Limits(after_s=50.0), shared_links=True, down_rate=1000.0)
    rows = play(fleet, Rounds(2), plan=plan).rows[:2]
    ends = 11.5 if pauses else 1.5
    assert [(row["ended_s"], row["download_s"], row["cause"]) for row in rows] == (
        [(ends, 1.5, "battery")] * 2
    )
    assert {row["down_bytes"] for row in rows} == {750}


def test_a_battery_charges_while_a_retry_waits():
    """Half a download of 1 s at 1 W; 2 s at rest, which fill it again; then 3 J last for 3 s."""
    fleet = ToyFleet([9.0], rate=1000.0, drop_share=0.5 / 11.0, retries=1, retry=(2.0, 0.0))
    fleet.energy.battery, fleet.energy.start_j = lambda i: (3.0, 0.5, 0.1), np.array([3.0])
    row = play(fleet, Rounds(1), after_s=50.0).rows[0]
    assert (row["cause"], row["ended_s"]) == ("battery", pytest.approx(2.5 + 6.0))
