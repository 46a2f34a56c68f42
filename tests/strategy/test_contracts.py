"""One table: every strategy, on the whole engine, under the same contracts.

A strategy from somewhere else joins with one line in SMALL.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lab import Lab

import simfl
from simfl.clock.server import Server
from simfl.messages import Update
from simfl.params import Params
from simfl.scenario import parse
from simfl.strategy import LOCAL_RULES, SELECTIONS, SERVER_OPTIMISERS, STRATEGIES, WEIGHTINGS
from simfl.testing import STRATEGY_CONTRACTS, Played
from simfl.testing.strategies import LEARNING, charged_bytes
from simfl.wire.chain import chain
from simfl.wire.quantize import Quantize
from simfl.wire.sign_half import BF16

_ROUNDS = {"cohort": 4}
_BUFFER = {"concurrency": 6, "buffer": 2}
_STREAM = {"concurrency": 6}
_DEADLINE = {"cohort": 4, "deadline_s": 1.0}

#: Options that make a strategy's default fit a dozen devices.
SMALL: dict[str, dict[str, Any]] = {
    "fedavg": _ROUNDS,
    "overselect": _ROUNDS,
    "fedprox": {**_ROUNDS, "stragglers": 0.5, "epochs": 2.0},
    "fednova": {**_ROUNDS, "local": "normalised"},
    "feddyn": _ROUNDS,
    "asyncfeddyn": _BUFFER,
    "scaffold": _ROUNDS,
    "asyncscaffold": _BUFFER,
    "moon": _ROUNDS,
    "signsgd": _ROUNDS,
    "spatl": {**_ROUNDS, "local": {"kind": "salient", "agent": "all"}},
    "asyncspatl": {**_BUFFER, "local": {"kind": "salient", "agent": "all"}},
    "fedbuff": _BUFFER,
    "fadas": _BUFFER,
    "ca2fl": _BUFFER,
    "port": {**_BUFFER, "max_staleness": 2},
    "fedasync": _STREAM,
    "delayadaptive": _STREAM,
    "asyncfeded": {**_STREAM, "epochs": 2.0, "local": "returnsbase"},
    "dcasgd": _STREAM,
    "asofed": _STREAM,
    "fedasmu": _STREAM,
    "pisces": _STREAM,
    "fedat": {"tiers": 2, "cohort": 3},
    "quafl": {"cohort": 3, "every_s": 1.0},
    "favano": {"cohort": 3, "every_s": 1.0},
    "safa": {"deadline_s": 3.0},
    "refl": {**_DEADLINE, "adapt": True},
    "semisync": _DEADLINE,
    "twotiers": _DEADLINE,
    "firstorder": {**_DEADLINE, "predict": True},
    "gradientinversion": {**_DEADLINE, "iterations": 3, "warm_iterations": 2, "max_loss": 2.0},
    "simfl_relay:Relay": {},
}
KINDS = list(SMALL)

C_BYTES = 4 * (64 * 8 + 8 + 8 * 10 + 10) + 9  # a variate, its name and shape
C_SHARED = 4 * (64 * 8 + 8) + 9  # of the part that SPATL's devices share
#: What travels beside the model, down and up, in bytes; nothing, if a kind is not named.
BESIDE: dict[str, tuple[set[int], set[int]]] = {
    "fednova": ({0}, {16 + 11}),
    "scaffold": ({C_BYTES}, {C_BYTES}),
    "asyncscaffold": ({C_BYTES}, {C_BYTES}),
    "spatl": ({C_SHARED}, {C_SHARED}),
    "asyncspatl": ({C_SHARED}, {C_SHARED}),
    "asyncfeded": ({0}, {C_BYTES + 3}),
    "quafl": ({0, 19}, {0}),
    "asofed": ({0}, {0}),
}


def scenario(kind: str, learning: dict = LEARNING, drop: float = 0.2, **stop: Any) -> dict:
    return Played({"kind": kind, **SMALL[kind]}).scenario(learning, drop, **stop)


@cache
def played(kind: str) -> Played:
    return Played({"kind": kind, **SMALL[kind]})


every_strategy = pytest.mark.parametrize("kind", KINDS)


#: Strategies that need edges, and options for four devices under each.
TIERED: dict[str, dict[str, Any]] = {
    "hierarchical": {"k2": 2, "edge": {"kind": "fedbuff", "concurrency": 3, "buffer": 2}}
}


class PlayedAtEdges(Played):
    """A strategy on a dozen devices under three edges; of one device, under one."""

    def scenario(self, *given: Any, **stop: Any) -> dict[str, Any]:
        return {**super().scenario(*given, **stop), "edge": [{"name": "edge", "count": 3}]}


def test_the_tables_hold_every_shipped_strategy():
    assert set(STRATEGIES.shipped) - {*SMALL, *TIERED} == set()


@every_strategy
@pytest.mark.parametrize("contract", STRATEGY_CONTRACTS, ids=lambda contract: contract.__name__)
def test_a_strategy_keeps_its_contracts(kind, contract):
    contract(played(kind))


@pytest.mark.parametrize("kind", TIERED)
@pytest.mark.parametrize("contract", STRATEGY_CONTRACTS, ids=lambda contract: contract.__name__)
def test_a_strategy_of_two_tiers_keeps_its_contracts(kind, contract):
    if contract.__name__ == "one_device":
        pytest.skip("three edges have three devices")
    contract(PlayedAtEdges({"kind": kind, **TIERED[kind]}))


@every_strategy
def test_a_message_is_charged_what_the_codec_says_and_what_travels_beside(kind):
    whole = played(kind).result
    assert beside(whole) == BESIDE.get(kind, ({0}, {0}))
    wire = {"down": [{"kind": "bf16"}], "up": [{"kind": "quantize", "bits": 4}]}
    coded = simfl.run({**scenario(kind, versions=4), "wire": wire})
    assert beside(coded, BF16(), Quantize(bits=4)) == BESIDE.get(kind, ({0}, {0}))


def beside(result: simfl.Result, down: Any = None, up: Any = None) -> tuple:
    """Sizes of what tasks carried beside frame and payload, down and up."""
    sizes = [chain([codec] if codec else []).nbytes(result.params.layout) for codec in (down, up)]
    ways = zip(("down", "up"), sizes, strict=True)
    return tuple({n - size for n in charged_bytes(result, way)} for way, size in ways)


class _Reports(torch.nn.Module):
    """A classifier with a running statistic that is 1 at first and 0.2 wherever it was trained."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, classes))
        self.register_buffer("statistic", torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.statistic.fill_(0.2)
        return self.layers(x)


def reporting(dataset: Any) -> torch.nn.Module:
    return _Reports(dataset.classes)


@every_strategy
def test_running_statistics_stay_between_what_the_server_has_and_what_devices_report(kind):
    """However stale an update is, whatever it weighs: a variance cannot become negative."""
    table = scenario(kind, {**LEARNING, "model": reporting}, drop=0.0)
    with recorded() as models:
        result = simfl.run(table)
    seen = torch.stack([params["statistic"] for params in [*models, result.params]])
    assert bool((seen >= 0.2 - 1e-5).all())
    assert bool((seen <= 1.0 + 1e-5).all())
    assert bool((seen.diff(dim=0) <= 1e-5).all())
    assert float(seen[-1].max()) < 0.9
    if kind in PLAIN_MEANS:
        assert torch.allclose(seen[1:], torch.tensor(0.2), atol=1e-5)


#: Strategies whose updates together replace what the server had.
PLAIN_MEANS = (
    "fedavg", "overselect", "fedprox", "fednova", "feddyn", "scaffold", "moon", "signsgd", "spatl",
    "fadas", "port", "dcasgd", "semisync", "firstorder", "gradientinversion",
)  # fmt: skip


@contextmanager
def recorded() -> Iterator[list[Params]]:
    """The model before each change, as the server has it."""
    models, apply = [], Server.apply
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "apply", lambda self, c: (models.append(self.params), apply(self, c)))
        yield models


def plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(plain(key) and plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(plain(item) for item in value)
    if is_dataclass(value) and not isinstance(value, Update | Params):
        return all(plain(getattr(value, f.name)) for f in fields(value))
    return value is None or isinstance(
        value, bool | int | float | str | Params | torch.Tensor | Update
    )


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "spatl" not in kind])
def test_the_state_is_made_of_what_a_checkpoint_can_hold(kind):
    lab = Lab([[float(i)] for i in range(12)], lambda device, index: 1.0 + 0.3 * device)
    lab.play(parse(scenario(kind)).strategy, versions=6)
    assert plain(lab.state)


@pytest.mark.parametrize(
    "registry", [STRATEGIES, LOCAL_RULES, SELECTIONS, SERVER_OPTIMISERS, WEIGHTINGS]
)
def test_every_part_says_what_it_does_in_one_line(registry):
    for name in registry.names():
        first, *_ = inspect.getdoc(registry.get(name)).splitlines()
        assert first.endswith((".", ":")), f"{name}: {first}"
        assert len(first) <= 100


@pytest.mark.parametrize("kind", [*KINDS, *TIERED])
def test_every_strategy_names_its_paper(kind):
    part = STRATEGIES.get(kind)
    assert any(char.isdigit() for char in part.reference)
    author = part.reference.split(",")[0].split(" et al.")[0].split()[0]
    module = inspect.getmodule(part)
    told = (part, module, sys.modules[module.__package__])
    assert author in " ".join(" ".join(map(inspect.getdoc, told)).split())


def test_a_strategy_costs_its_author_one_short_file():
    """The median file of a family, reference and equations included, has fewer than 150 lines."""
    names = {STRATEGIES.target(kind).partition(":")[0] for kind in STRATEGIES.shipped}
    files = [Path(importlib.import_module(name).__file__) for name in sorted(names)]
    assert np.median([len(file.read_text("utf-8").splitlines()) for file in files]) < 150
