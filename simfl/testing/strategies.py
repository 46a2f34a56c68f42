"""What every strategy keeps to, played on the whole engine."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from simfl.engine.checkpoints.snapshot import Reader, Writer
from simfl.engine.run import run
from simfl.fleet.traces import Trace, write_trace
from simfl.messages import FRAME_BYTES
from simfl.results.result import Result
from simfl.results.verify import verify
from simfl.scenario import parse
from simfl.scenario.parts import plain

#: A small problem: ten digits, shared out unevenly, by 610 parameters.
LEARNING: dict[str, Any] = {
    "dataset": "digits",
    "partition": {"kind": "dirichlet", "alpha": 0.5},
    "model": {"kind": "mlp", "hidden": [8]},
    "hold_back": 0.2,
}
TIMING = {"dataset": "none", "parameters": 100, "examples": 10, "flops_per_example": 1.0}

#: Why a run may leave an update unused at its end.
LEFT_OVER = {"unused at the end", "surplus", "late", "superseded"}

#: Options that say how many devices work at once.
AT_ONCE = ("cohort", "concurrency")


def check_strategy(strategy: Any, learning: Mapping[str, Any] | None = None) -> None:
    """Raises AssertionError if a strategy breaks a contract. Takes a few seconds.

    strategy: an instance, or the table of [strategy] in a scenario. Its options must suit a dozen
        devices, one task of which takes a second.
    learning: the section [learning] that it is tried on, where it does not suit any.
    """
    played = Played(strategy, learning or LEARNING)
    for contract in STRATEGY_CONTRACTS:
        contract(played)


class Played:
    """A strategy on a dozen devices, of which a fifth of the tasks drop out."""

    def __init__(self, strategy: Any, learning: Mapping[str, Any] = LEARNING) -> None:
        self.strategy, self.learning = strategy, dict(learning)

    def scenario(
        self, learning: Mapping[str, Any] | None = None, drop: float = 0.2, **stop: Any
    ) -> dict[str, Any]:
        """The scenario as a table.

        learning: another section.
        stop: by default eight versions.
        """
        group = {
            "compute": {"kind": "exponential", "mean_s": 1.0},
            "network": {"down_mbps": 1.0, "up_mbps": 0.5, "latency_s": 0.05},
            "faults": {"drop_probability": drop},
            "count": 12,
        }
        return {
            "seed": 5,
            "fleet": {"group": [group]},
            "learning": dict(learning or self.learning),
            "strategy": self.strategy,
            "stop": stop or {"versions": 8},
        }

    @cached_property
    def result(self) -> Result:
        """The run that most contracts look at."""
        return run(self.scenario(), progress=False)

    @property
    def part(self) -> Any:
        """The strategy's class."""
        return type(parse(self.scenario()).strategy)

    @property
    def at_once(self) -> dict[str, int]:
        """The options that say how many devices work at once, and their values."""
        made = parse(self.scenario()).strategy
        found = {name: getattr(made, name, None) for name in AT_ONCE}
        return {name: n for name, n in found.items() if isinstance(n, int)}


def changed(table: Mapping[str, Any], **group: Any) -> dict[str, Any]:
    """A scenario with other options of its one group of devices."""
    return {**table, "fleet": {"group": [{**table["fleet"]["group"][0], **group}]}}


def check_books(result: Result) -> None:
    """Raises AssertionError if a ledger breaks a law: tasks, staleness, bytes, sums, digest."""
    broken = [f"{check.law}: {check.wrong}" for check in verify(result) if check.wrong]
    assert not broken, f"the run's tables contradict each other: {'; '.join(broken)}"


def check_end(result: Result, ended: str) -> None:
    """Raises AssertionError if the run ended otherwise, or with a model that is not finite."""
    found = result.summary["ended"]
    assert found == ended, f"the run ended by {found!r}, expected {ended!r}"
    if result.params is not None:
        assert bool(result.params.flat.isfinite().all()), "the final model is not finite"
    check_books(result)


def a_run_ends(played: Played) -> None:
    """A run ends with a finite model and its books closed."""
    check_end(played.result, "versions")
    outcomes = set(played.result.tasks["outcome"])
    known = {"applied", "discarded", "lost", "cancelled", "in_flight"}
    assert outcomes <= known, f"tasks ended as {outcomes - known}"


def a_run_repeats(played: Played) -> None:
    """A run repeats bit for bit."""
    again = run(played.scenario(), progress=False)
    assert again.digest == played.result.digest, (
        "a second run differs: state outside of `init`, a generator that is not "
        "server.generator, or the order of a set"
    )


def one_task_a_device(played: Played) -> None:
    """No device has two tasks at once, and `concurrency` is kept."""
    tasks = played.result.tasks.sort_values(["device", "dispatched_s", "task"])
    gaps = tasks.groupby("device")["dispatched_s"].shift(-1) - tasks["ended_s"]
    assert (gaps.dropna() >= -1e-9).all(), "a device had two tasks at once"
    limit = played.at_once.get("concurrency")
    begun, ended = (np.sort(tasks[name].to_numpy()) for name in ("dispatched_s", "ended_s"))
    before = [np.searchsorted(times, begun, "right") for times in (begun, ended)]
    most = int((before[0] - before[1]).max())
    assert limit is None or most <= limit, f"{most} tasks were in flight, concurrency is {limit}"


def timing_alone(played: Played) -> None:
    """Without learning the same is charged, and stated sizes are enough."""
    timed = run(played.scenario(), timing=True, progress=False)
    assert timed.summary["versions"] == 8, "without learning it made other versions"
    assert timed.evaluations.empty, "something was evaluated where nothing is learnt"
    for way in ("down_bytes", "up_bytes"):
        learnt, counted = (_applied(one)[way] for one in (played.result, timed))
        assert set(learnt) == set(counted), (
            f"{way} with learning are {sorted(set(learnt))}, without {sorted(set(counted))}"
        )
    check_end(run(played.scenario(TIMING), progress=False), "versions")


def _applied(result: Result) -> Any:
    return result.tasks[result.tasks["outcome"] == "applied"]


def charged_bytes(result: Result, way: str) -> set[int]:
    """Bytes of the applied updates' messages in one direction ("down", "up"), without framing."""
    return set((_applied(result)[f"{way}_bytes"] - FRAME_BYTES).tolist())


def everything_is_lost(played: Played) -> None:
    """A fleet that loses everything ends by the clock."""
    result = run(played.scenario(TIMING, drop=1.0, after_s=30.0), progress=False)
    assert result.summary["ended"] == "after_s", f"it ended by {result.summary['ended']!r}"
    assert result.summary["versions"] == 0, "it made versions of nothing"
    assert result.summary["lost"] > 10, "it stopped asking when tasks were lost"


def one_device(played: Played) -> None:
    """One device is a fleet: it is asked again and again, whatever becomes of its tasks."""
    table = changed(played.scenario(), count=1)
    table["strategy"] = _with_options(played.strategy, dict.fromkeys(played.at_once, 1))
    check_end(run(table, progress=False), "versions")


def _with_options(strategy: Any, options: dict[str, int]) -> Any:
    """The strategy, however it was given, with other options."""
    table = {"kind": strategy} if isinstance(strategy, str) else strategy
    return {**table, **options} if isinstance(table, Mapping) else replace(table, **options)


def devices_come_and_go(played: Played) -> None:
    """A strategy lives with devices that come and go."""
    table = played.scenario(TIMING, versions=20, after_s=3600.0)
    presence = {"kind": "onoff", "mean_on_s": 10.0, "mean_off_s": 10.0}
    result = run(changed(table, presence=presence), progress=False)
    check_end(result, "versions")
    assert "offline" in set(result.tasks["cause"]), "no task was lost to an absence"


def late_devices(played: Played) -> None:
    """Devices that appear late are waited for and take part.

    Eleven come at 5 s, when there is no other; the last one at 40 s.
    """
    columns = {"device": np.arange(12), "start_s": np.array([5.0] * 11 + [40.0])}
    trace = Trace("presence", columns | {"end_s": np.full(12, 1e9)}, {"devices": 12})
    table = played.scenario(TIMING, after_s=200.0)
    with tempfile.TemporaryDirectory(prefix="simfl-late-") as folder:
        (Path(folder) / "traces").mkdir()
        write_trace(Path(folder) / "traces" / "late.parquet", trace)
        table = changed(table, presence={"kind": "trace", "trace": "late"})
        tasks = run(parse(table, path=Path(folder) / "late.toml"), progress=False).tasks
    first_s = tasks.groupby("device")["dispatched_s"].min()
    assert 5.0 <= first_s[:10].min() < 10.0, "devices that appeared at 5 s were not asked at once"
    mine = tasks[tasks["device"] == 11]
    assert len(mine), "the last device was never asked"
    assert mine["dispatched_s"].min() >= 40.0, "the last device was asked before it was there"
    assert "applied" in set(mine["outcome"]), "no update of the last device was used"


def nothing_after_the_end(played: Played) -> None:
    """What arrives after the end enters no model.

    Equal devices answer at one instant, so that the first to be folded are not alone.
    """
    for stop in ({"versions": 1}, {"updates": 1}, {"after_s": 2.5}):
        table = changed(played.scenario(drop=0.0, **stop), compute={"kind": "constant", "s": 1.0})
        result = run(table, progress=False)
        check_books(result)
        tasks = result.tasks
        late = tasks["ended_s"].max() - result.summary["virtual_s"]
        assert late <= 0, f"{stop}: a task ended {late:g} s after the run"
        made = int(np.nan_to_num(tasks["applied_version"].max()))
        assert len(result.versions) == made, f"{stop}: {len(result.versions)} versions, not {made}"
        assert stop != {"versions": 1} or made == 1, f"{stop}: there were {made} versions"
        unused = set(tasks["cause"][tasks["outcome"] == "discarded"]) - LEFT_OVER
        assert not unused, f"{stop}: updates were left because of {unused}"


def a_state_that_is_saved(played: Played) -> None:
    """A state that is saved and loaded before every step changes nothing, with learning or not."""
    for timing in (False, True):
        whole = run(played.scenario(), timing=True, progress=False) if timing else played.result
        step = played.part.step

        def reborn(self: Any, state: Any, server: Any, updates: Any, step: Any = step) -> Any:
            edges = {edge.name: edge for edge in getattr(server, "edges", ())}
            _replace_in_place(state, _reread(state, {"server": server, **edges}))
            return step(self, state, server, updates)

        with patch.object(played.part, "step", reborn):
            again = run(played.scenario(), timing=timing, progress=False)
        assert again.digest == whole.digest, (
            "a run that is saved and loaded differs: its state is not all in what `init` returned"
        )


def _replace_in_place(state: Any, fresh: Any) -> None:
    """The state becomes the one that was read."""
    if isinstance(state, dict):
        state.clear()
        state.update(fresh)
    elif isinstance(state, list):
        state[:] = fresh
    elif is_dataclass(state):
        for f in fields(state):
            setattr(state, f.name, getattr(fresh, f.name))


def _reread(value: Any, known: dict[str, Any]) -> Any:
    """What a checkpoint gives back of what it was given."""
    writer = Writer(known)
    tree = json.loads(json.dumps(writer.tree(value)))
    return Reader(known, writer.arrays).value(tree)


def options_in_a_file(played: Played) -> None:
    """Its options can be written into a scenario and read again."""
    table = plain(parse(played.scenario()).strategy)
    if table["kind"].startswith("__main__:") or "<locals>" in table["kind"]:
        return  # no file can name it
    again = parse({**played.scenario(), "strategy": table})
    assert plain(again.strategy) == table, "options that were written are read as others"


STRATEGY_CONTRACTS = (
    a_run_ends,
    a_run_repeats,
    one_task_a_device,
    timing_alone,
    everything_is_lost,
    one_device,
    devices_come_and_go,
    late_devices,
    nothing_after_the_end,
    a_state_that_is_saved,
    options_in_a_file,
)
