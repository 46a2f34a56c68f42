"""Which trainer a run gets, and why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from trainer_bench import Drift, images, problem

from simfl.errors import ScenarioError
from simfl.learn.datasets.base import Dataset
from simfl.learn.models.base import CharLstm, Cnn, Mlp
from simfl.learn.partition.shift import negative, shifting
from simfl.learn.trainers import choose, make, torch_device_of
from simfl.learn.trainers.dense import dense_widths
from simfl.strategy.local_rules import Proximal


def tanh(dataset: Dataset) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.Tanh(), nn.Linear(5, dataset.classes))


class Counting(nn.Module):
    """A model that keeps something from step to step."""

    def __init__(self, _: Dataset) -> None:
        super().__init__()
        self.layer = nn.Linear(36, 4)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        logits: Tensor = self.layer(x.flatten(1))
        return logits


class Mixing(nn.Module):
    """A model whose examples see each other."""

    def __init__(self, _: Dataset) -> None:
        super().__init__()
        self.layer = nn.Linear(36, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layer(x.flatten(1))
        return logits - logits.mean(0)


def crooked(_: Dataset) -> nn.Module:
    """With a matrix of 63 numbers, so that a stack has no two of them at like addresses."""
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 9), nn.Tanh(), nn.Linear(9, 7))


class Viewed(nn.Module):
    """As many write it: `view` cannot flatten what lies in another order."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 3, 3, padding=1), nn.LazyLinear(classes)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        logits: Tensor = self.last(y.view(len(x), -1))
        return logits


def viewing(dataset: Dataset) -> nn.Module:
    return Viewed(dataset.classes or 0)


def dropping(_: Dataset) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 4))


@pytest.mark.parametrize(
    ("factory", "rule", "kind"),
    [
        (None, None, "compiled"),
        (None, Proximal(0.1), "compiled"),
        (None, Drift(), "batched"),
        (tanh, None, "batched"),
        (Cnn(), None, "channels-last"),
        (viewing, None, "one-by-one"),
        (dropping, None, "one-by-one"),
        (Counting, None, "one-by-one"),
        (Mixing, None, "one-by-one"),
    ],
)
def test_auto_takes_what_is_fastest_for_the_model(factory: Any, rule: Any, kind: str) -> None:
    choice = choose("auto", problem(factory, rule))
    assert choice.kind == kind
    assert choice.why


@pytest.mark.parametrize(
    ("kind", "factory", "why"),
    [
        ("batched", dropping, "a trial step failed"),
        ("batched", Counting, "keeps state"),
        ("batched", Mixing, "gave other gradients"),
        ("compiled", Mixing, "not a chain of linear layers"),
        ("compiled", tanh, "not a chain of linear layers"),
        ("channels-last", tanh, "it does not convolve images"),
        ("channels-last", viewing, "takes images in their usual order only"),
    ],
)
def test_a_trainer_asked_for_by_name_is_used_or_refused(kind: Any, factory: Any, why: str) -> None:
    """Another one would add up in another order, and the run would be another."""
    with pytest.raises(ScenarioError, match=f'trainer = "{kind}" cannot train this run: .*{why}'):
        choose(kind, problem(factory))


@pytest.mark.parametrize("kind", ["batched", "compiled"])
def test_data_that_change_are_learnt_one_by_one(kind: Any) -> None:
    local = problem()
    rng = np.random.default_rng(1)
    changing = shifting(local.data, negative(local.data.dataset), 0, 9, rng)
    local.data = changing
    assert choose("auto", local).kind == "one-by-one"
    with pytest.raises(ScenarioError, match="data change from version to version"):
        choose(kind, local)


def test_a_choice_does_not_depend_on_the_number_of_threads() -> None:
    """Two would find that sums depend on the height of a stack, and keep it."""
    local = problem(Mlp((128,)), dataset=images((1, 8, 8)), batch_size=10)
    torch.set_num_threads(2)
    trainer = choose("batched", local).trainer
    assert torch.get_num_threads() == 2
    assert trainer._slots(3) == 3


def test_a_recurrent_model_trains_one_by_one() -> None:
    rng = torch.Generator().manual_seed(1)
    tokens = torch.randint(5, (44, 7), generator=rng)
    dataset = Dataset("text", tokens, tokens, tokens, tokens, 5, sequence=True)
    assert choose("auto", problem(CharLstm(2, 3, 1), dataset=dataset)).kind == "one-by-one"


@pytest.mark.parametrize(
    ("model", "widths"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (4, 2)),
        (nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), (4, 3, 2)),
        (nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), None),
        (nn.Sequential(nn.Linear(4, 3), nn.ReLU()), None),
        (nn.Sequential(nn.ReLU(), nn.Linear(4, 3)), None),
        (nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), None),
        (nn.Sequential(nn.Linear(4, 3, bias=False)), None),
        (nn.Sequential(nn.Linear(4, 3).requires_grad_(False), nn.ReLU(), nn.Linear(3, 2)), None),
        (nn.Sequential(nn.Flatten()), None),
        (nn.Sequential(), None),
        (nn.Linear(4, 3), None),
        (nn.Sequential(nn.Unflatten(1, (2, 2)), nn.Flatten(2), nn.Linear(2, 2)), None),
    ],
)
def test_a_dense_model_is_a_chain_and_nothing_else(
    model: nn.Module, widths: tuple[int, ...] | None
) -> None:
    assert dense_widths(model) == widths


def test_one_layer_used_twice_is_no_chain() -> None:
    layer = nn.Linear(4, 4)
    assert dense_widths(nn.Sequential(layer, nn.ReLU(), layer)) is None


def test_a_gpu_must_be_there_to_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in (torch.cuda, torch.backends.mps):
        monkeypatch.setattr(backend, "is_available", lambda: False)
    assert torch_device_of("auto") == torch_device_of("cpu") == "cpu"
    for name in ("cuda", "mps"):
        with pytest.raises(ScenarioError, match=rf'learning\.device = "{name}".*use "cpu"'):
            torch_device_of(name)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert torch_device_of("auto") == torch_device_of("mps") == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert torch_device_of("auto") == torch_device_of("cuda") == "cuda"
    assert torch_device_of("cpu") == "cpu"


def test_waiting_results_are_bounded_by_the_size_of_the_model() -> None:
    small, large = problem(), problem(Mlp((20_000,)))
    widths = [make("batched", local).trainer.width for local in (small, large)]
    assert widths[0] == 1000
    assert 4 * large.initial.layout.size * widths[1] <= 256 * 2**20
