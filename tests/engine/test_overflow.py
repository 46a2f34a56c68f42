"""Models that wait: held once, and on disk where memory is short, with the same results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import simfl
from simfl.engine import overflow
from simfl.engine.exchange import Exchange
from simfl.engine.overflow import LEAST_BYTES, Overflow
from simfl.errors import PluginError
from simfl.learn.trainers.batched import Batched
from simfl.messages import Task
from simfl.params import Params
from simfl.streams import Streams
from simfl.wire.chain import Chain
from simfl.wire.codec import Codec
from simfl.wire.quantize import Quantize

MODEL = torch.arange(LEAST_BYTES / 4)

#: Devices hold on to versions, and updates wait for each other.
BUFFERED = {
    "strategy": {"kind": "fedbuff", "concurrency": 6, "buffer": 3, "steps": 1},
    "learning.model": {"kind": "mlp", "hidden": [4000]},
    "evaluate": {"every_versions": 100, "at_start": False},
    "stop": {"versions": 4},
}


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Those that were moved to disk."""
    moved: list[torch.Tensor] = []
    write = overflow.on_disk

    def watched(flat: torch.Tensor, folder: Path) -> torch.Tensor:
        moved.append(write(flat, folder))
        return moved[-1]

    monkeypatch.setattr(overflow, "on_disk", watched)
    return moved


@pytest.mark.parametrize("wire", [(), ({"kind": "quantize", "rounding": "nearest"},)])
def test_a_run_without_memory_for_its_models_has_the_same_digest(
    tmp_path: Path, models: list[torch.Tensor], wire: tuple[Any, ...]
) -> None:
    options = {**BUFFERED, "wire.down": wire}
    roomy = simfl.run("quickstart", progress=False, **options)
    assert models == []
    tight = simfl.run("quickstart", tmp_path / "run", memory_gb=0.0, progress=False, **options)
    assert tight.digest == roomy.digest
    assert len(models) > 6
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.startswith("tmp")]


def test_what_does_not_fit_is_moved_and_what_dies_makes_room(
    tmp_path: Path, models: list[torch.Tensor]
) -> None:
    store = Overflow()
    store.folder, store.budget = tmp_path, 2.5 * LEAST_BYTES
    waiting = [MODEL + i for i in range(5)]
    for flat in waiting:
        store.wait("versions", [flat])
        store.wait("versions", [flat])  # another task of the same version
    assert (len(models), store.held_bytes) == (2, 2 * LEAST_BYTES)
    assert all(torch.equal(flat, MODEL + i) for i, flat in enumerate(waiting))
    assert list(tmp_path.iterdir()) == []
    del waiting[:2], flat
    assert store.held_bytes == 0
    store.wait("versions", [MODEL + 9])
    assert (len(models), store.held_bytes) == (2, LEAST_BYTES)


def test_small_models_and_updates_that_are_used_at_once_stay_where_they_are(
    tmp_path: Path, models: list[torch.Tensor]
) -> None:
    store = Overflow()
    store.folder, store.budget = tmp_path, 0.0
    small = [torch.arange(10.0) for _ in range(3)]
    for i in range(3):
        store.wait("versions", [small[i]])
        store.wait("updates", [MODEL + i])
    assert models == []


def task_of(initial: Params) -> Task:
    return Task(serial=0, device=0, index=0, version=0, base=initial, dispatched_s=0.0)


@pytest.mark.parametrize(
    ("down", "alike"), [(Codec(), True), (Chain((Quantize(rounding="nearest"),)), False)]
)
def test_a_version_that_arrives_as_it_was_sent_is_held_once(down: Codec, alike: bool) -> None:
    initial = Params.from_named({"w": torch.arange(100.0)})
    exchange, task = Exchange(initial, down, Codec(), Streams(0), None), task_of(initial)
    assert exchange.encode_download(task) == down.nbytes(initial.layout)
    assert task.message.down.payload == b""
    assert (exchange.decode_download(task) is initial) == alike


@dataclass(frozen=True)
class Careless(simfl.LocalRule):
    """Works in the model that it was given."""

    hook: str = "prepare"

    def prepare(self, base: Any, extras: Any, memory: Any, work: Any) -> Any:
        return (base.mul_(0.5) if self.hook == "prepare" else base), {}

    def report(self, end: Any, base: Any, context: Any, work: Any) -> simfl.Report:
        return simfl.Report(end.sub_(base) if self.hook == "prepare" else base.sub_(end).neg_())

    def sends(self, params: Any) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("hook", ["prepare", "report"])
def test_a_rule_that_alters_the_model_it_was_given_is_refused(hook: str) -> None:
    """Other devices and the server hold the same tensor."""
    options = {"strategy.local": Careless(hook), "stop": {"versions": 1}}
    with pytest.raises(PluginError, match="Careless altered the model that the device received"):
        simfl.run("quickstart", progress=False, **options)


@dataclass(frozen=True)
class Keeps(simfl.LocalRule):
    """Keeps what it sent, and later writes into it."""

    copies: bool = True

    def prepare(self, base: Any, extras: Any, memory: Any, work: Any) -> Any:
        if memory:
            memory["sent"].zero_()
        return base, {}

    def report(self, end: Any, base: Any, context: Any, work: Any) -> simfl.Report:
        sent = end - base
        return simfl.Report(sent, memory={"sent": sent.clone() if self.copies else sent})

    def sends(self, params: Any) -> dict[str, Any]:
        return {}


def test_what_a_device_does_with_what_it_sent_does_not_reach_the_server() -> None:
    """A device gets its next task while its update waits in the buffer."""
    options: dict[str, Any] = {
        "strategy": {"kind": "fedbuff", "concurrency": 4, "buffer": 8, "steps": 1},
        "fleet.group": [{"compute": {"kind": "exponential", "mean_s": 1.0}, "count": 4}],
        "stop": {"versions": 3},
    }
    digests = {
        simfl.run(
            "quickstart", progress=False, **options, **{"strategy.local": Keeps(copies)}
        ).digest
        for copies in (True, False)
    }
    assert len(digests) == 1


@pytest.mark.parametrize("faults", [{}, {"on_offline": "pause"}])
def test_a_trainer_is_given_first_what_is_due_first(
    monkeypatch: pytest.MonkeyPatch, faults: dict[str, Any]
) -> None:
    """So that workers have begun with what the clock waits for."""
    asked: list[list[int]] = []
    train = Batched.train

    def noted(self: Batched, jobs: Any) -> Any:
        asked.append([job.device for job in jobs])
        return train(self, jobs)

    monkeypatch.setattr(Batched, "train", noted)
    presence = {"kind": "onoff", "mean_on_s": 40.0, "mean_off_s": 20.0} if faults else "always"
    group = {"compute": {"kind": "exponential", "mean_s": 9.0}, "faults": faults, "count": 8}
    run = simfl.run(
        "quickstart",
        progress=False,
        **{"learning.trainer": "batched", "strategy": {"kind": "fedavg", "cohort": 6}},
        **{"fleet.group": [{**group, "presence": presence}], "stop": {"versions": 1}},
    )
    ended = run.tasks.sort_values("ended_s")["device"].tolist()
    assert asked == [ended[: len(asked[0])]]
