"""What nobody should do to a run, and how it ends: the guilty one named, and nothing lost."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import simfl
from simfl.cli import main
from simfl.clock.kernel import Kernel
from simfl.clock.watchdog import Watchdog
from simfl.engine.checkpoints import checkpoint
from simfl.errors import Diverged, InputError, PluginError, SimflError, Stalled
from simfl.params import Params
from simfl.strategy.base import Change, LocalRule, Wait
from simfl.strategy.methods.fedavg import FedAvg
from simfl.strategy.methods.spatl.private import PrivateHead
from simfl.strategy.special_rules import MomentumRule
from simfl.wire.codec import Codec, Wire

ROOT = Path(__file__).parents[1]
TINY: dict[str, Any] = {
    "name": "tiny",
    "fleet": {"group": [{"compute": {"kind": "constant", "s": 1.0}, "count": 4}]},
    "learning": {"dataset": "digits", "model": {"kind": "softmax"}},
    "strategy": {"kind": "fedavg", "cohort": 2},
    "stop": {"versions": 4},
}
SAVING = {**TINY, "checkpoint": {"every_s": 1.0}}


def test_unicode_is_welcome_in_folders(tmp_path: Path) -> None:
    out = tmp_path / "Läufe ☂"
    assert simfl.run(TINY, out=out).folder == out


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_read_only_folder_is_an_error_not_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Root may write anywhere but where the kernel has no files."""
    tmp_path.chmod(0o500)
    home = Path("/proc") if os.geteuid() == 0 else tmp_path
    assert main(["run", "quickstart", "--out", str(home / "run"), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("simfl: ")
    assert "a bug" not in said


class Filling:
    """A progress display after whose n-th update no file can grow beyond a few bytes."""

    def __init__(self, n: int) -> None:
        self.left = n

    def update(self, status: object) -> None:
        self.left -= 1
        if self.left == 0:
            self.limit(100)

    def close(self) -> None:
        self.limit(None)

    def limit(self, nbytes: int | None) -> None:
        import resource  # not on every system

        least = resource.RLIM_INFINITY if nbytes is None else nbytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (least, resource.RLIM_INFINITY))


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX limits")
def test_a_run_whose_disk_fills_up_goes_on_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system refuses to write, in whatever file the run is at."""
    table = {**SAVING, "evaluate": {"every_versions": 1}}
    whole = simfl.run(table)
    with pytest.raises(OSError, match="File too large"):
        simfl.run(table, out=tmp_path, progress=Filling(3))
    assert checkpoint.exists(tmp_path)
    assert len(simfl.open(tmp_path).tasks) > 0
    assert simfl.run(table, out=tmp_path, resume=True).digest == whole.digest


def test_a_full_disk_is_an_error_not_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("simfl.results.store._write", full)
    assert main(["run", "quickstart", "--out", str(tmp_path / "run"), "--quiet"]) == 2
    assert "No space left on device" in capsys.readouterr().err


def test_the_clock_of_the_host_may_be_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = simfl.run(TINY).digest
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert simfl.run(TINY).digest == whole


def test_learning_that_goes_far_and_stays_finite_is_a_result() -> None:
    table = {**TINY, "learning": {**TINY["learning"], "lr": 1e30}}
    assert simfl.run(table).summary["versions"] == 4


# Plug-ins: strategies.


@dataclass(frozen=True)
class Nonsense:
    """Does one thing wrong, once it has been given updates twice."""

    wrong: Callable[[simfl.Server, list[simfl.Update]], Wait | None]
    local: LocalRule = field(default_factory=LocalRule)

    def init(self, params: Params) -> list[int]:
        return []

    def step(self, state: list[int], server: simfl.Server, updates: list[simfl.Update]) -> Any:
        if len(state) >= 2:
            return self.wrong(server, updates)
        state += [1] * bool(updates)
        if updates:
            server.apply(Change(updates[0].delta, {u.task: 1.0 for u in updates}))
        server.dispatch(server.sample(2))
        return Wait()


def applying(delta: Callable[[Params], Any], weight: Any = 1.0) -> Any:
    """A step that applies something made of the first update, with this weight."""
    return lambda server, updates: server.apply(
        Change(delta(updates[0].delta), {updates[0].task: weight})
    )


NONSENSE: dict[str, Any] = {
    "raises": lambda server, updates: 1 / 0,
    "exits": lambda server, updates: exit(0),
    "not finite": applying(lambda delta: delta * float("nan")),
    "wrong shape": applying(lambda delta: Params.from_named({"w": torch.ones(1)})),
    "negative weight": applying(lambda delta: delta, -1.0),
    "infinite weight": applying(lambda delta: delta, float("inf")),
    "weight of another type": applying(lambda delta: delta, "all"),
    "no change": lambda server, updates: server.apply(updates[0].delta),
    "unknown task": lambda server, updates: server.apply(Change(server.params * 0.0, {77: 1.0})),
    "no wait": lambda server, updates: server.dispatch(server.sample(1)),
    "waits backwards": lambda server, updates: Wait(within=-1.0),
    "waits for nothing known": lambda server, updates: Wait(within=float("nan")),
    "unknown device": lambda server, updates: server.dispatch([99]),
    "busy device": lambda server, updates: server.dispatch([1, 1]),
    "no work": lambda server, updates: server.dispatch([1], steps=0),
    "less than no work": lambda server, updates: server.dispatch([1], epochs=-1.0),
    "work that is no number": lambda server, updates: server.dispatch([1], epochs=float("nan")),
    "negative charge": lambda server, updates: server.charge(seconds=-1.0),
    "never dispatches": lambda server, updates: Wait(),
    "waits and waits": lambda server, updates: Wait(within=1.0),
}


@pytest.mark.filterwarnings("ignore:.*cannot be played again")
@pytest.mark.parametrize("how", NONSENSE)
def test_nonsense_from_a_strategy_names_it_and_keeps_what_was_seen(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watchdog, "FRUITLESS", 1000)
    with pytest.raises((PluginError, Stalled), match="Nonsense"):
        simfl.run({**TINY, "strategy": Nonsense(NONSENSE[how])}, out=tmp_path)
    left = simfl.open(tmp_path)
    assert left.summary["ended"].startswith(("failed", "stalled"))
    assert left.summary["versions"] == 2
    assert len(left.tasks) >= 4


class Fragile(FedAvg):
    """Fails in its fourth round until it is mended."""

    mended = False

    def step(self, state: Any, server: simfl.Server, updates: list[simfl.Update]) -> Wait:
        if server.version == 3 and not self.mended:
            raise RuntimeError("not yet")
        return super().step(state, server, updates)


def test_a_run_goes_on_once_its_plug_in_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {**SAVING, "strategy": Fragile(cohort=2)}
    with pytest.raises(PluginError, match=r"Fragile.step at .* RuntimeError\('not yet'\)"):
        simfl.run(table, out=tmp_path)
    assert simfl.open(tmp_path).summary["ended"].startswith("failed: Fragile.step")
    monkeypatch.setattr(Fragile, "mended", True)
    starts = []
    monkeypatch.setattr(Kernel, "_start", lambda self: starts.append(self))
    resumed = simfl.run(table, out=tmp_path, resume=True)
    monkeypatch.undo()
    monkeypatch.setattr(Fragile, "mended", True)
    assert starts == []
    assert resumed.digest == simfl.run(table).digest
    assert sorted(p.name for p in tmp_path.glob("[.c]*")) == [".lock"]


# Plug-ins: everything else.


def fail(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("oops")


def having(base: type, **methods: Any) -> Any:
    return dataclass(frozen=True)(type("Plug", (base,), methods))


def under(**parts: Any) -> dict[str, Any]:
    return {**TINY, "learning": {**TINY["learning"], **parts}}


class Net(torch.nn.Module):
    """A model of so many classes, which may fail when it is asked."""

    def __init__(self, classes: int = 10, ask: Any = lambda x: x) -> None:
        super().__init__()
        self.layer, self.ask = torch.nn.Linear(64, classes), ask

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.ask(self.layer(x.flatten(1)))


def rule(kind: type = LocalRule, **hooks: Any) -> dict[str, Any]:
    model = {"kind": "mlp", "hidden": [8]}
    return {**under(model=model), "strategy": FedAvg(cohort=2, local=having(kind, **hooks)())}


def deciding(**methods: Any) -> dict[str, Any]:
    return {**TINY, "strategy": having(FedAvg, **methods)(cohort=2)}


def coded(way: str, **methods: Any) -> dict[str, Any]:
    return {**TINY, "wire": {way: [having(Codec, **methods)()]}}


HOOKS = {
    **dict.fromkeys(("prepare", "penalty", "correct", "report", "passes"), LocalRule),
    **dict.fromkeys(("split", "whole", "transfer", "metrics", "trials"), PrivateHead),
    "momentum_correction": MomentumRule,
}
GUILTY: dict[str, tuple[str, Any]] = {
    "init": ("Plug.init", deciding(init=fail)),
    "metrics": ("Plug.metrics", deciding(metrics=fail)),
    **{hook: (r"local rule Plug", rule(kind, **{hook: fail})) for hook, kind in HOOKS.items()},
    **{
        name: (rf"codec Plug\.{name}", coded("up", **{name: fail}))
        for name in ("encode", "decode", "nbytes", "begin")
    },
    "encodes nothing": (r"codec Plug\.encode", coded("up", encode=lambda *_: None)),
    "encodes too little": (r"codec Plug\.decode", coded("down", encode=lambda *_: Wire(b"xx"))),
    "data set": ("data set .*:fail", under(dataset=fail)),
    "model": ("model .*:fail", under(model=fail)),
    "no model": ("model .*must make a torch Module", under(model=lambda *_: None)),
    "forward": ("model .*oops", under(model=lambda *_: Net(ask=fail))),
    "few classes": ("model .*a last dimension of 10", under(model=lambda *_: Net(3))),
    "partition": ("partition .*:fail", under(partition=fail)),
}

#: Functions that make something else than what they are asked for.
EMPTY = {
    "data set": ("dataset: a NoneType is no data set", under(dataset=lambda *_: None)),
    "partition": ("the partition of .*: gave a NoneType", under(partition=lambda *_: None)),
}


@pytest.mark.parametrize("which", EMPTY)
def test_a_function_that_makes_nothing_is_an_error_that_says_what_is_expected(which: str) -> None:
    said, table = EMPTY[which]
    with pytest.raises(InputError, match=rf"{said}.*expected"):
        simfl.run(table)


@pytest.mark.parametrize("which", GUILTY)
def test_a_plug_in_that_fails_is_named(which: str) -> None:
    named, table = GUILTY[which]
    with pytest.raises(PluginError, match=named) as caught:
        simfl.run(table)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("hook", ["split", "trials", "momentum_correction", "affine"])
def test_a_hook_of_a_special_rule_on_a_plain_one_is_refused_and_not_left_out(hook: str) -> None:
    with pytest.raises(PluginError, match=rf"Plug\.{hook} would never be called.*inherit from"):
        simfl.run(rule(**{hook: lambda *_: None}))


def test_a_model_of_nan_is_no_result() -> None:
    with pytest.raises(Diverged, match="the loss of an evaluation is nan"):
        simfl.run(under(model=lambda *_: Net(ask=lambda x: x * torch.nan)))


# Limits of what is worth waiting for.


def test_a_task_that_would_pause_for_ever_is_refused() -> None:
    group = {
        "compute": {"kind": "constant", "s": 1e12},
        "presence": {"kind": "onoff", "mean_on_s": 60.0, "mean_off_s": 20.0},
        "faults": {"on_offline": "pause"},
        "count": 4,
    }
    table = {**TINY, "fleet": {"group": [group]}, "stop": {"after_s": 1000.0}}
    with pytest.raises(InputError, match="would pause 100,000 times"):
        simfl.run(table, timing=True)


def test_losses_without_end_end_a_run_that_has_a_limit_of_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Watchdog, "LOST", 500)
    monkeypatch.setattr(Watchdog, "HOPELESS", 100)
    group = {**TINY["fleet"]["group"][0], "faults": {"hazard_per_hour": 1e12}}
    table = {**TINY, "fleet": {"group": [group]}, "stop": {"after_s": 1000.0}}
    with pytest.raises(Stalled, match=r"were all lost \(hazard\)"):
        simfl.run(table, timing=True)


# What code a file can bring along: none.


def test_no_data_file_is_read_by_pickle() -> None:
    """One reader refuses all but plain values; the others read what a process sends its workers."""
    code = re.compile(r"import pickle|torch\.load|allow_pickle=True|(?<![.\w])(?:eval|exec)\(")
    files = (ROOT / "simfl").rglob("*.py")
    users = {path.name for path in files if code.search(path.read_text("utf-8"))}
    assert users == {"plain_pickle.py", "shared_memory.py", "packing.py"}


def test_validate_says_which_code_a_run_would_import_and_imports_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("trap.py").write_text('open("sprung", "w").close()\nclass Trap: ...\n', "utf-8")
    Path("trapped.toml").write_text(
        (ROOT / "scenarios/quickstart.toml")
        .read_text("utf-8")
        .replace('kind = "fedbuff"', 'kind = "trap:Trap"'),
        "utf-8",
    )
    assert main(["validate", "trapped.toml"]) == 0
    assert "would import trap:Trap" in capsys.readouterr().out
    assert not Path("sprung").exists()
    assert main(["run", "trapped.toml", "--out", "run"]) == 2
    assert Path("sprung").exists()
    with pytest.raises(SimflError):
        simfl.load("trapped.toml", {"strategy.kind": "trap:Nothing"})
