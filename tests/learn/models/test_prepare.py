"""Models as strangers have them: with several outputs, frozen, tied, lazy or in half precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import simfl
from simfl.errors import PluginError, ScenarioError
from simfl.learn.datasets.base import Dataset
from simfl.learn.models.base import build
from simfl.learn.models.flat import FlatModule, params_of
from simfl.learn.models.flops import flops_per_example
from simfl.learn.objective.losses import PLAIN

X = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
DATA = Dataset("six", X, torch.arange(6) % 3, X, torch.arange(6) % 3, 3)


class Says(nn.Module):
    """A linear layer, and something made of its output."""

    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.layer, self.wrap = nn.Linear(5, 3), wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.layer(x))


class Answer:
    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


WRAPS: dict[str, Callable[[Tensor], Any]] = {
    "tuple": lambda z: (z, z * 2),
    "logits": lambda z: {"loss": None, "hidden": z * 2, "logits": z},
    "only one": lambda z: {"scores": z},
    "attribute": Answer,
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_predictions_are_found_among_outputs(wrap: Callable[[Tensor], Any]) -> None:
    model = build(lambda data: Says(wrap), DATA, 1)
    assert params_of(model).layout.names == ("layer.weight", "layer.bias")
    assert torch.equal(model(X), model.layer(X))
    assert torch.equal(FlatModule(model).module(X), model(X))


def test_predictions_that_cannot_be_found_are_asked_for() -> None:
    with pytest.raises(PluginError, match=r'a dict with a, b, expected .* "logits" in a dict'):
        build(lambda data: Says(lambda z: {"a": z, "b": z}), DATA, 1)


def test_lazy_layers_take_their_shapes_from_the_data_and_their_values_from_the_seed() -> None:
    def lazy(data: Dataset) -> nn.Module:
        return nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(3))

    first, again, other = (params_of(build(lazy, DATA, seed)) for seed in (1, 1, 2))
    assert first.layout.shapes[0] == ("0.weight", (4, 5))
    assert torch.equal(first.flat, again.flat)
    assert not torch.equal(first.flat, other.flat)


def frozen(data: Dataset) -> nn.Module:
    body = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4))
    body.register_buffer("table", torch.ones(9))
    body.requires_grad_(False)
    return nn.Sequential(body, nn.BatchNorm1d(4), nn.Linear(4, 3))


def test_only_what_training_changes_travels() -> None:
    """Neither frozen parameters nor a table of constants; running statistics do."""
    names = params_of(build(frozen, DATA, 1)).layout.names
    head = ("1.weight", "1.bias", "2.weight", "2.bias")
    assert names == (*head, "1.running_mean", "1.running_var")


def test_the_frozen_part_costs_its_forward_pass() -> None:
    """FLOP by hand: 2 for each weight that an example meets, and in the head three times that."""
    net = build(lambda d: nn.Sequential(frozen(d)[0], nn.Linear(4, 3)), DATA, 1)
    body, head = 2 * (5 * 7 + 7 * 4), 2 * 4 * 3
    assert flops_per_example(net, X[:1]) == body + 2 * head  # nothing lies below the head


def test_frozen_and_tied_parameters_learn_as_in_a_plain_loop() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.fixed = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)
            self.b.weight = self.a.weight
            self.fixed.requires_grad_(False)

        def forward(self, x: Tensor) -> Any:
            return self.fixed(self.b(self.a(x).tanh()))

    model = build(lambda data: Tied(), DATA, 3)
    flat = FlatModule(model)
    assert flat.layout.names == ("a.weight", "a.bias", "b.bias")
    sgd = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        flat.forget()
        PLAIN.loss(flat.module(X), DATA.y).mean().backward()
        flat.descend(0.1)
        sgd.zero_grad()
        PLAIN.loss(model(X), DATA.y).mean().backward()
        sgd.step()
    assert torch.equal(flat.flat, params_of(model).flat)
    assert torch.equal(flat.module.fixed.weight, model.fixed.weight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_model_computes_so_from_float32_values(dtype: torch.dtype) -> None:
    seen = []

    class Spy(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            seen.append(out.dtype)
            return out

    model = build(lambda data: Spy(5, 3).to(dtype), DATA, 1)
    assert params_of(model).flat.dtype == torch.float32
    assert model(X).dtype == torch.float32
    assert set(seen) == {dtype}
    PLAIN.loss(model(X), DATA.y).mean().backward()
    assert next(model.parameters()).grad is not None


def test_precision_is_asked_for_in_the_scenario_and_changes_what_is_learnt() -> None:
    short = {"stop.versions": 2, "learning.trainer": "one-by-one"}
    usual, half = (
        simfl.run("quickstart", **short, **{"learning.precision": precision})
        for precision in (None, "bfloat16")
    )
    assert half.params.flat.dtype == torch.float32
    assert not torch.equal(usual.params.flat, half.params.flat)
    assert torch.allclose(usual.params.flat, half.params.flat, atol=0.02)
    assert half.tasks["up_bytes"].tolist() == usual.tasks["up_bytes"].tolist()
    with pytest.raises(ScenarioError, match=r'learning\.precision = "int8", expected .*bfloat16'):
        simfl.load("quickstart", {"learning.precision": "int8"})
