"""Mistakes in processes are told with the process, the moment and the line, and nothing is lost."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from world_toys import At, at, played, table

import simfl
from simfl.clock.living import environment, processes
from simfl.errors import PluginError, ScenarioError, Stalled

CELL = {"network": {"cell": [{"name": "hall"}]}, "server": {"sharing": "max-min"}}

#: Methods given what they cannot use, and words that the message must have.
REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a device beyond the fleet": (lambda w: w.set_speed(2, 0.5), "device 2, but there are devices"),
    "a device below 0": (lambda w: w.leave(-1), "device -1, but there are devices 0 to 1"),
    "no device": (lambda w: w.come_back("0"), "'0', expected a device's number"),
    "half a device": (lambda w: w.set_speed(0.5, 0.5), "0.5, expected a device's number"),
    "a factor of 0": (lambda w: w.set_speed(0, 0), "factor = 0, expected a number above 0"),
    "a negative factor": (lambda w: w.set_link(0, 1.0, -1.0), "up_factor = -1.0"),
    "an infinite factor": (lambda w: w.set_speed(0, math.inf), "factor = inf"),
    "a factor that is none": (lambda w: w.set_link(0, math.nan, 1.0), "down_factor = nan"),
    "a factor in words": (lambda w: w.set_speed(0, "half"), "factor = 'half'"),
    "an unknown cell": (lambda w: w.set_cell("hal", 1.0), "cell 'hal' (did you mean 'hall'?"),
    "a cell beyond the last": (lambda w: w.set_cell(1, 1.0), "cell 1, but there are cells 0 to 0"),
    "a cell without capacity": (lambda w: w.set_cell("hall", up_mbps=0.0), "up_mbps = 0.0"),
    "a cause that says nothing": (lambda w: w.end_task(0, " "), "cause = ' ', expected some text"),
    "a kind of its own": (lambda w: w.log("world.x"), "begins changes of a world"),
    "an infinite entry": (lambda w: w.log("x", 0, math.inf), "value = inf, expected a finite"),
    "an unknown column": (lambda w: w.column("train_gflop"), "did you mean 'train_gflops'?"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_method_can_use_is_refused_in_one_paragraph(what: str):
    act, words = REFUSED[what]
    with pytest.raises(PluginError) as caught:
        at(3.0, act, table(group={"cell": "hall"}, **CELL))
    said = str(caught.value)
    assert words in said
    assert "\n" not in said
    assert said.startswith("process world_toys:At at t = 3 s: ")
    assert " at test_mistakes.py:" in said
    assert caught.value.exit_code == 3


def test_a_cell_that_nothing_shares_is_refused():
    with pytest.raises(
        PluginError, match=r'set_cell: links are shared with `server.sharing = "max'
    ):
        at(1.0, lambda world: world.set_cell("hall", 1.0), table(network=CELL["network"]))


class Raises:
    def run(self, env: Any, world: Any) -> Any:
        yield env.timeout(30)
        world.log("so far", value=1.0)
        raise KeyError("oven")


class Delegates(Raises):
    def run(self, env: Any, world: Any) -> Any:
        yield from super().run(env, world)


class Begins(Raises):
    def run(self, env: Any, world: Any) -> Any:
        yield env.process(super().run(env, world))


class Steps:
    def next(self, state: Any, world: Any) -> float:
        if world.now_s > 20:
            world.log("so far", value=1.0)
            raise KeyError("oven")
        return 30.0


@pytest.mark.parametrize("kind", [Raises, Delegates, Begins, Steps])
def test_an_error_names_file_and_line_and_everything_so_far_is_saved(kind: type, tmp_path: Path):
    with pytest.raises(PluginError) as caught:
        simfl.run(table(), processes=[kind()], out=tmp_path / "run")
    said = str(caught.value)
    assert f"{kind.__name__} at t = 30 s: KeyError: 'oven' at test_mistakes.py:" in said
    run = simfl.open(tmp_path / "run")
    assert run.summary["ended"] == f"failed: {said}"
    assert run.events["kind"].tolist() == ["so far"]
    assert len(run.tasks) == 2


class Yields:
    def __init__(self, what: Any) -> None:
        self.what = what

    def run(self, env: Any, world: Any) -> Any:
        yield self.what


@pytest.mark.parametrize("what", [5, None, "env"])
def test_a_wait_for_what_is_no_event_is_told(what: Any):
    with pytest.raises(PluginError, match=r"yielded .*, expected an event of env at test_mistakes"):
        played(table(), Yields(what))


class Waits:
    def __init__(self, delay: float) -> None:
        self.delay = delay

    def run(self, env: Any, world: Any) -> Any:
        while True:
            yield env.timeout(self.delay)


class Turns(Waits):
    run = None

    def next(self, state: Any, world: Any) -> float:
        return self.delay


@pytest.mark.parametrize("delay", [-1.0, math.nan])
@pytest.mark.parametrize("kind", [Waits, Turns])
def test_a_wait_that_ends_before_now_is_told(kind: type, delay: float):
    with pytest.raises(PluginError, match=rf"(?i)(delay|next returned).* ?{delay}"):
        played(table(), kind(delay))


@pytest.mark.parametrize("kind", [Waits, Turns])
def test_time_does_not_stand_still(kind: type, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(environment, "STANDSTILL", 1000)
    monkeypatch.setattr(processes, "FRUITLESS", 1000)
    with pytest.raises((PluginError, Stalled), match=r"no time|nothing but processes"):
        played(table(), kind(0.0))


def test_processes_alone_do_not_go_on_for_ever(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "FRUITLESS", 1000)
    leave = At(0.0, lambda world: [world.leave(device) for device in range(world.devices)])
    with pytest.raises(Stalled, match="Give the run `after_s`"):
        played(table(), leave, Waits(60.0))


def test_a_run_ends_when_nothing_can_happen_any_more():
    leave = At(0.0, lambda world: [world.leave(device) for device in range(world.devices)])
    with pytest.raises(Stalled, match="no device will ever be present again"):
        played(table(), leave)


class Plain:
    def run(self, env: Any, world: Any) -> Any:
        return [env.timeout(3)]


def test_a_process_that_is_no_generator_is_told():
    with pytest.raises(PluginError, match="is no generator: let it yield events"):
        played(table(), Plain())


class Once:
    def run(self, env: Any, world: Any) -> None:
        world.set_speed(0, 2.0)


def test_a_process_may_act_once():
    assert played(table(), Once()).tasks["train_s"].tolist() == pytest.approx([50.0, 100.0])


class Interrupts:
    """SimPy's own means: events, conditions, interrupts, further processes."""

    def run(self, env: Any, world: Any) -> Any:
        sleeper = env.process(self.sleep(env, world))
        bell = env.event()
        yield env.timeout(4) | bell
        bell.succeed()
        yield bell & env.timeout(1)
        sleeper.interrupt("enough")
        yield sleeper
        world.log("woken", value=env.now)

    def sleep(self, env: Any, world: Any) -> Any:
        import simpy

        try:
            yield env.timeout(1000)
        except simpy.Interrupt as interrupt:
            world.log(str(interrupt.cause), value=env.now)


def test_a_process_may_use_all_of_simpy():
    events = played(table(), Interrupts()).events
    assert list(zip(events["kind"], events["value"], strict=True)) == [("enough", 5), ("woken", 5)]


def test_a_scenario_names_processes_by_their_kind(tmp_path: Path):
    whole = table(process=[{"kind": "world_toys:Breathing", "every_s": 3.0}])
    run = simfl.run(whole, out=tmp_path / "run")
    assert set(run.events["process"]) == {"world_toys:Breathing"}
    assert 'kind = "world_toys:Breathing"' in (tmp_path / "run" / "scenario.toml").read_text()


@pytest.mark.parametrize(
    ("process", "words"),
    [({"kind": "world_toys:Breathing", "every_s": -1.0}, "process.0.every_s"),
     ({"kind": "world_toys:Breathing", "evry_s": 1.0}, "every_s"),
     ({"kind": "world_toys:PARAMETERS"}, "it has no `run` or `next`"),
     ({"kind": "world_toys:Absent"}, "cannot import"), (3, "expected the name of a process")],
)  # fmt: skip
def test_a_process_that_no_scenario_can_hold_is_refused(process: Any, words: str):
    with pytest.raises(ScenarioError, match=words):
        simfl.run(table(process=[process]))
