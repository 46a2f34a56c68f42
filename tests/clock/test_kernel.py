"""The kernel on toy fleets: whole ledgers, order at one instant, and runs that cannot go on."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import numpy as np
import pytest
from toy import Busy, Rounds, ToyFleet, play

from simfl.clock.kernel import Limits, Plan
from simfl.clock.workload import TimingOnly
from simfl.errors import PluginError, Stalled
from simfl.messages import NOTHING
from simfl.strategy.base import Change, LocalRule, Wait


def story(kernel, *names):
    return [tuple(row[name] for name in names) for row in kernel.rows]


def test_a_round_lasts_as_long_as_its_slowest_device():
    kernel = play(ToyFleet([1.0, 2.0]), Rounds(2), versions=2)
    assert story(kernel, "device", "dispatched_s", "ended_s", "outcome", "staleness") == [
        (0, 0.0, 1.0, "applied", 0),
        (1, 0.0, 2.0, "applied", 0),
        (0, 2.0, 3.0, "applied", 0),
        (1, 2.0, 4.0, "applied", 0),
    ]
    assert kernel.clock.now == 4.0
    assert kernel.tables["versions"]["time_s"] == [2.0, 4.0]


def test_phases_follow_each_other_and_bytes_include_the_frame():
    fleet = ToyFleet([3.0], rate=1000.0, latency_s=0.5)
    (row,) = play(fleet, Rounds(1), versions=1).rows
    assert (row["download_s"], row["train_s"], row["upload_s"]) == (1.5, 3.0, 1.5)
    assert (row["down_bytes"], row["up_bytes"]) == (1000, 1000)
    assert row["ended_s"] == 6.0


def test_looking_at_what_is_in_flight_changes_nothing():
    """A task that nothing disturbs keeps a short plan, until it is asked how far it is."""

    @dataclass(frozen=True)
    class Curious(Busy):
        def step(self, state, server, updates):
            server.moved_bytes()
            return super().step(state, server, updates)

    fleet = ToyFleet([1.0, 2.5, 3.7], rate=1000.0, latency_s=0.1)
    plain, looked = (play(fleet, kind(concurrency=3), versions=20) for kind in (Busy, Curious))
    assert story(looked, *looked.rows[0]) == story(plain, *plain.rows[0])


def test_an_undisturbed_task_that_is_cancelled_is_charged_for_what_it_did():
    @dataclass(frozen=True)
    class Short(Rounds):
        def step(self, state, server, updates):
            server.cancel()
            server.dispatch([0])
            return Wait(within=2.0)

    fleet = ToyFleet([3.0], rate=1000.0, latency_s=0.5)  # 1.5, 3 and 1.5 s
    row = play(fleet, Short(1), after_s=3.0).rows[0]
    spent = (row["download_s"], row["train_s"], row["upload_s"])
    assert (row["outcome"], row["phase"], spent) == ("cancelled", "train", (1.5, 0.5, 0.0))
    assert (row["down_bytes"], row["up_bytes"]) == (1000, 0)


def test_deliveries_of_one_instant_come_before_the_step():
    """Equal devices that refill on arrival stay in lock-step: nobody is ever stale."""
    kernel = play(ToyFleet([1.0] * 4), Busy(concurrency=4, buffer=4), versions=5)
    assert {row["staleness"] for row in kernel.rows if row["outcome"] == "applied"} == {0}


def test_activities_without_duration_still_progress():
    kernel = play(ToyFleet([0.0] * 3), Busy(concurrency=3), versions=50)
    assert kernel.server.version >= 50
    assert kernel.clock.now == 0.0


def test_time_that_stands_still_is_an_error(monkeypatch):
    monkeypatch.setattr("simfl.clock.watchdog.Watchdog.STANDSTILL", 1000)
    with pytest.raises(Stalled, match="time stands still at t = 0 s"):
        play(ToyFleet([0.0] * 3), Busy(concurrency=3), after_s=10.0)


def test_certain_drop_out_ends_with_a_message(monkeypatch):
    monkeypatch.setattr("simfl.clock.watchdog.Watchdog.HOPELESS", 100)
    with pytest.raises(Stalled, match=r"were all lost \(drop-out\)"):
        play(ToyFleet([1.0] * 3, drop_share=0.5), Rounds(3), versions=1)


def test_certain_drop_out_with_a_time_limit_runs_to_it():
    kernel = play(ToyFleet([1.0] * 3, drop_share=0.5), Rounds(3), after_s=10.2)
    assert kernel.reason == "after_s"
    assert {row["outcome"] for row in kernel.rows} == {"lost", "in_flight"}


def test_a_task_that_drops_out_half_way_is_charged_for_what_it_did():
    fleet = ToyFleet([3.0], rate=1000.0, latency_s=0.0, drop_share=0.9)  # 1 + 3 + 1 s of work
    row = play(fleet, Rounds(1), after_s=5.0).rows[0]
    assert (row["outcome"], row["cause"], row["phase"]) == ("lost", "drop-out", "upload")
    assert row["ended_s"] == 4.5
    assert (row["down_bytes"], row["up_bytes"]) == (1000, 500)


@pytest.mark.parametrize(
    ("lifetime_s", "phase", "spent"),
    [(0.25, "download", (0.25, 0.0, 0.0)), (2.5, "train", (1.0, 1.5, 0.0))],
)
def test_a_lifetime_ends_a_task_in_any_phase(lifetime_s, phase, spent):
    fleet = ToyFleet([3.0], rate=1000.0, lifetime_s=lifetime_s)
    row = play(fleet, Rounds(1), after_s=3.0).rows[0]
    assert (row["cause"], row["phase"], row["ended_s"]) == ("hazard", phase, lifetime_s)
    assert (row["download_s"], row["train_s"], row["upload_s"]) == spent
    assert row["down_bytes"] == 1000 * spent[0]


def test_going_away_loses_the_task_at_that_moment():
    fleet = ToyFleet([3.0], windows=[(0.0, 2.0), (10.0, 20.0)])
    kernel = play(fleet, Rounds(1), versions=1)
    assert story(kernel, "dispatched_s", "ended_s", "outcome", "cause") == [
        (0.0, 2.0, "lost", "offline"),
        (10.0, 13.0, "applied", ""),
    ]


def test_pausing_neither_loses_nor_doubles_work():
    fleet = ToyFleet([3.0], windows=[(0.0, 2.0), (10.0, 20.0)], offline="pause")
    kernel = play(fleet, Rounds(1), versions=1)
    assert story(kernel, "dispatched_s", "ended_s", "outcome") == [(0.0, 11.0, "applied")]


def test_a_device_that_finishes_ignores_its_absence():
    fleet = ToyFleet([3.0], windows=[(0.0, 2.0), (10.0, 20.0)], offline="finish")
    assert play(fleet, Rounds(1), versions=1).rows[0]["ended_s"] == 3.0


def test_waiting_for_a_device_is_an_event_not_a_poll():
    fleet = ToyFleet([1.0], windows=[(7.0, 9.0)])
    kernel = play(fleet, Rounds(1), versions=1)
    assert kernel.rows[0]["dispatched_s"] == 7.0
    assert kernel.server.steps == 3  # at 0 (nobody there), at 7, at 8


def test_a_fleet_that_never_comes_stalls():
    with pytest.raises(Stalled, match="no device will ever be present"):
        play(ToyFleet([1.0], windows=[]), Rounds(1), versions=1)


def test_a_deadline_wakes_the_strategy_and_late_updates_are_stale():
    @dataclass(frozen=True)
    class Hasty(Rounds):
        def step(self, state, server, updates):
            super().step(state, server, updates)
            if not updates:
                server.apply(Change(NOTHING))  # the model moves on without them
            return Wait(within=1.0)

    kernel = play(ToyFleet([2.5]), Hasty(1), after_s=3.4)
    assert kernel.tables["versions"]["time_s"] == [0.0, 1.0, 2.0, 2.5]
    assert story(kernel, "ended_s", "staleness", "staleness_s")[0] == (2.5, 3, 2.5)


def test_cancelled_tasks_end_at_once_and_are_waste():
    @dataclass(frozen=True)
    class Impatient(Rounds):
        def step(self, state, server, updates):
            server.cancel(cause="surplus")
            return super().step(state, server, updates)

    kernel = play(ToyFleet([1.0, 4.0]), Impatient(2, Wait(arrivals=1)), versions=2)
    cancelled = [row for row in kernel.rows if row["outcome"] == "cancelled"]
    assert [(r["device"], r["ended_s"], r["train_s"], r["cause"]) for r in cancelled] == [
        (1, 1.0, 1.0, "surplus"),
        (1, 2.0, 1.0, "surplus"),
    ]


def test_tasks_in_flight_at_the_end_are_recorded_with_their_age():
    kernel = play(ToyFleet([1.0, 10.0]), Busy(concurrency=2), versions=3)
    last = kernel.rows[-1]
    assert (last["outcome"], last["device"], last["staleness"], last["train_s"]) == (
        "in_flight",
        1,
        3,
        3.0,
    )


def test_server_work_delays_what_it_sends():
    @dataclass(frozen=True)
    class Thinker(Rounds):
        def step(self, state, server, updates):
            server.charge(seconds=5.0)
            return super().step(state, server, updates)

    kernel = play(ToyFleet([1.0]), Thinker(1), versions=2)
    assert story(kernel, "dispatched_s", "ended_s") == [(5.0, 6.0), (11.0, 12.0)]
    assert kernel.tables["versions"]["time_s"] == [11.0, 17.0]
    assert kernel.clock.now == 17.0


def test_versions_are_released_when_nobody_needs_them():
    kernel = play(ToyFleet([1.0, 3.3, 0.7]), Busy(concurrency=3), versions=200)
    assert len(kernel.server.versions) <= 3
    assert kernel.server.versions.peak <= 4


#: What `Broken` dispatches: devices, and work.
ASKED = {
    "a device below 0": ([-1], {}),
    "a device beyond the fleet": ([2], {}),
    "half a device": ([0.5], {}),
    "a device's name": (["0"], {}),
    "a device twice": ([1, 1], {}),
    "endless steps": ([0], {"steps": 10**18}),
    "endless steps of one": ([0, 1], {"steps": [1, 10**18]}),
    "half a step": ([0], {"steps": 2.5}),
    "endless epochs": ([0], {"epochs": 1e18}),
}


@dataclass(frozen=True)
class Broken:
    how: str
    local: LocalRule = field(default_factory=LocalRule)

    def init(self, params):
        return None

    def step(self, state, server, updates):
        if self.how == "raises":
            raise ZeroDivisionError("oh")
        if self.how == "wrong wait":
            return 3
        if self.how == "busy device":
            server.dispatch([0, 0])
        if self.how == "twice" and updates:
            server.apply(Change(NOTHING, {updates[0].task: 1.0}))
            server.discard(updates, "again")
        if self.how == "raw delta":
            server.apply(NOTHING)
        if self.how == "lengths":
            server.dispatch([0, 1], steps=[1, 2, 3])
        if self.how == "cancels half a device":
            server.cancel([0.5])
        if self.how == "asks half a device":
            server.request_partial([0.5])
        if self.how == "samples half a device":
            server.dispatch(server.sample(0.5))
        if self.how in ASKED:
            devices, work = ASKED[self.how]
            server.dispatch(devices, **work)
        server.dispatch(server.sample(1))
        return Wait()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("raises", "ZeroDivisionError"),
        ("wrong wait", "must return a Wait"),
        ("busy device", "device 0 was dispatched a task while it is busy"),
        ("twice", "the update of task 0 was discarded, but it is not there"),
        ("raw delta", "server.apply takes a Change"),
        ("lengths", "2 devices was given 3 values"),
        ("cancels half a device", "cancel was given 0.5, expected a device's number"),
        ("asks half a device", "request_partial was given 0.5, expected a device's number"),
        ("samples half a device", "sample was asked for 0.5 devices, expected a whole number"),
        ("a device below 0", "dispatch was given device -1, the fleet has 0 to 1"),
        ("a device beyond the fleet", "dispatch was given device 2, the fleet has 0 to 1"),
        ("half a device", "dispatch was given 0.5, expected a device's number"),
        ("a device's name", "dispatch was given '0', expected a device's number"),
        ("a device twice", "device 1 was dispatched a task while it is busy"),
        ("endless steps", "expected some work: 1 to 1000000000 whole steps"),
        ("endless steps of one", "expected some work: 1 to 1000000000 whole steps"),
        ("half a step", "expected some work: 1 to 1000000000 whole steps"),
        ("endless epochs", "expected some work: 0 to 1000000000 epochs"),
    ],
)
def test_a_strategy_that_errs_is_named(how, says):
    with pytest.raises(PluginError, match=r"Broken\.step at t = ") as caught:
        play(ToyFleet([1.0, 1.0]), Broken(how), versions=3)
    assert says in str(caught.value)


def test_a_whole_number_of_devices_is_one_of_any_kind():
    @dataclass(frozen=True)
    class Floats(Rounds):
        def step(self, state, server, updates):
            server.cancel(np.array([0]))
            assert sorted(server.sample(np.float64(2.0))) == [0, 1]
            server.dispatch([np.int32(1)])
            return Wait(arrivals=1)

    play(ToyFleet([1.0, 1.0]), Floats(), after_s=1.5)


def test_a_strategy_that_sends_nothing_stalls():
    @dataclass(frozen=True)
    class Idle(Rounds):
        def step(self, state, server, updates):
            return Wait()

    with pytest.raises(Stalled, match="Idle sent nothing"):
        play(ToyFleet([1.0]), Idle(), after_s=10.0)


def test_shared_links_split_the_servers_rate():
    """Two equal downloads of 1,000 bytes through a server of 1,000 B/s take two seconds."""
    fleet = ToyFleet([0.0, 0.0], rate=1e9)
    plan = Plan(Limits(versions=1), shared_links=True, down_rate=1000.0, up_rate=inf)
    kernel = play(fleet, Rounds(2), plan=plan)
    assert [row["download_s"] for row in kernel.rows] == pytest.approx([2.0, 2.0], abs=1e-5)


def test_a_flow_that_ends_leaves_its_share_to_the_others():
    """A late flow of the same size: both run at half rate until the first is through."""
    fleet = ToyFleet([0.0, 1.5], rate=1e9)
    plan = Plan(Limits(versions=1), shared_links=True, up_rate=500.0)
    first, second = play(fleet, Rounds(2), plan=plan).rows
    assert first["ended_s"] == pytest.approx(2.5, abs=1e-4)  # 1.5 s alone, then half of 500 B/s
    assert second["ended_s"] == pytest.approx(4.0, abs=1e-4)


def test_without_contention_shared_and_independent_links_agree():
    fleet = ToyFleet([1.03037, 2.11871, 0.37193], rate=1000.0, latency_s=0.2)
    alone = play(fleet, Busy(2), versions=40)
    plan = Plan(Limits(versions=40), shared_links=True)
    shared = play(fleet, Busy(2), plan=plan)
    for a, b in zip(alone.rows, shared.rows, strict=True):
        assert a == pytest.approx(b, nan_ok=True)


@pytest.mark.parametrize("offline", ["lost", "pause", "finish"])
def test_absence_means_the_same_on_shared_links(offline):
    windows = [(2.5 * k, 2.5 * k + 1.7) for k in range(40)]
    fleet = ToyFleet([0.517, 0.803], rate=1000.0, latency_s=0.113, windows=windows, offline=offline)
    alone = play(fleet, Busy(2), after_s=60.0)
    plan = Plan(Limits(after_s=60.0), shared_links=True)
    shared = play(fleet, Busy(2), plan=plan)
    names = ("device", "ended_s", "outcome", "cause", "phase", "up_bytes")
    assert len(alone.rows) == len(shared.rows) > 20
    for a, b in zip(story(alone, *names), story(shared, *names), strict=True):
        assert a[0] == b[0]
        assert a[2:5] == b[2:5]
        assert a[1] == pytest.approx(b[1])
        assert a[5] == pytest.approx(b[5], abs=2)


def test_a_requested_device_sends_what_it_has():
    """10 steps of a second each: asked at t = 3.5 of training, it makes four of them."""

    @dataclass(frozen=True)
    class Asking(Rounds):
        def step(self, state, server, updates):
            if server.now_s and not updates:
                server.request_partial([0])
            super().step(state, server, updates)
            return Wait(within=4.5)

    fleet = ToyFleet([10.0], rate=1000.0)
    workload = TimingOnly(np.array([100]), 10, 1.0, 936, 936)
    (row,) = play(fleet, Asking(1), workload=workload, versions=1).rows
    assert (row["train_s"], row["ended_s"], row["epochs"]) == (4.0, 6.0, 0.4)


def test_what_is_shortened_is_the_steps_and_not_the_set_up():
    """4 s of set-up, then ten steps of a second: at t = 7.5 (download 1 s) three are begun."""

    @dataclass(frozen=True)
    class Asking(Rounds):
        def step(self, state, server, updates):
            if server.now_s and not updates:
                server.request_partial([0])
            super().step(state, server, updates)
            return Wait(within=7.5)

    fleet = ToyFleet([14.0], rate=1000.0, setup_s=4.0)
    workload = TimingOnly(np.array([100]), 10, 1.0, 936, 936)
    (row,) = play(fleet, Asking(1), workload=workload, versions=1).rows
    assert (row["train_s"], row["epochs"]) == (7.0, pytest.approx(0.3))


def test_a_suspended_task_hangs_instead_of_training_and_delivers_nothing():
    fleet = ToyFleet([3.0], rate=1000.0, hang_s=50.0)
    row = play(fleet, Rounds(1), after_s=60.0).rows[0]
    assert (row["outcome"], row["cause"], row["phase"]) == ("lost", "suspended", "train")
    assert (row["download_s"], row["train_s"], row["upload_s"]) == (1.0, 50.0, 0.0)
    assert (row["down_bytes"], row["up_bytes"]) == (1000, 0)


def test_asking_a_device_that_uploads_changes_nothing():
    @dataclass(frozen=True)
    class Asking(Rounds):
        def step(self, state, server, updates):
            server.request_partial([0])
            super().step(state, server, updates)
            return Wait(within=11.5)

    (row,) = play(ToyFleet([10.0], rate=1000.0), Asking(1), versions=1).rows
    assert (row["train_s"], row["ended_s"]) == (10.0, 12.0)


def test_a_limit_of_the_hosts_time_holds_where_no_task_ends():
    """A strategy that only waits ends no task, and has ten thousand years to do so."""

    @dataclass(frozen=True)
    class Idle:
        local: LocalRule = field(default_factory=LocalRule)

        def init(self, params):
            return None

        def step(self, state, server, updates):
            return Wait(within=1.0)

    kernel = play(ToyFleet([1.0]), Idle(), after_s=3e11, wall_s=0.02)
    assert kernel.reason == "wall_s"
