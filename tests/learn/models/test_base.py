from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from simfl.errors import DataError
from simfl.learn.datasets.base import Dataset
from simfl.learn.models.base import (
    MODELS,
    CharLstm,
    Cnn,
    Lenet,
    Mlp,
    Softmax,
    build,
)
from simfl.learn.models.convnets import AcarCnn
from simfl.learn.models.flat import params_of
from simfl.learn.models.flops import flops_per_example
from simfl.learn.models.resnet import Resnet18, Resnet20
from simfl.learn.objective.losses import PLAIN


def images(channels: int = 1, side: int = 28) -> Dataset:
    x, y = torch.zeros(2, channels, side, side), torch.tensor([0, 9])
    return Dataset("images", x, y, x, y, 10)


def text(length: int = 6) -> Dataset:
    x = torch.arange(2 * length).view(2, length) % 65
    return Dataset("text", x, x, x, x, 65, sequence=True)


def labelled_text() -> Dataset:
    x, y = text().x, torch.tensor([0, 9])
    return Dataset("labelled text", x, y, x, y, 10)


def own_model(dataset: Dataset, width: int = 3) -> nn.Module:
    """A model that is no part of simfl."""
    return nn.Sequential(nn.Flatten(), nn.Linear(dataset.x[0].numel(), width))


@pytest.mark.parametrize("name", MODELS.shipped)
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (1, 28), (3, 32)])
def test_every_model_maps_examples_to_logits(name: str, channels: int, side: int) -> None:
    kinds = {"char-lstm": text, "causal-transformer": text, "transformer": labelled_text}
    data = kinds[name]() if name in kinds else images(channels, side)
    logits = build(MODELS.get(name)(), data, 1)(data.x)
    assert logits.shape == (*data.y.shape, data.classes)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (Softmax()(images()), 7_850),
        (Mlp((200, 200))(images()), 199_210),
        (Lenet()(images()), 61_706),
        (Cnn()(images()), 1_663_370),
        (Resnet20()(images(3, 32)), 269_722),
        (Resnet18()(images(3, 32)), 11_173_962),
        (AcarCnn()(images(3, 32)), 797_962),
        (CharLstm()(text()), 520 + 1024 * (8 + 256 + 2) + 1024 * (512 + 2) + 257 * 65),
    ],
    ids=["softmax", "2nn", "lenet", "cnn", "resnet20", "resnet18", "acar-cnn", "char-lstm"],
)
def test_models_have_the_published_number_of_parameters(model: nn.Module, parameters: int) -> None:
    """He et al. say 0.27 million of the ResNet; the LSTM's are its embedding, gates and output."""
    assert len(params_of(model)) == parameters


def test_initial_values_depend_on_the_seed_alone() -> None:
    one, two, other = (params_of(build(Mlp(), images(), seed)) for seed in (5, 5, 6))
    assert torch.equal(one.flat, two.flat)
    assert not torch.equal(one.flat, other.flat)


def test_building_a_model_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    build(Mlp(), images(), 5)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_model_may_come_from_anywhere_by_its_dotted_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("elsewhere")
    vars(module)["own_model"] = own_model
    monkeypatch.setitem(sys.modules, "elsewhere", module)
    factory = MODELS.get("elsewhere:own_model")
    assert build(factory, images(), 1)(images().x).shape == (2, 3)


@pytest.mark.parametrize("model", [Lenet(), Cnn(), Resnet20()])
def test_an_image_model_refuses_what_is_no_image(model: Lenet) -> None:
    x, y = torch.zeros(2, 60), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(DataError, match="needs images"):
        model(Dataset("vectors", x, y, x, y, 10))


def test_sequences_and_sequence_models_belong_together() -> None:
    with pytest.raises(DataError, match="char-lstm"):
        Mlp()(text())
    with pytest.raises(DataError, match="holds no sequences"):
        CharLstm()(images())


def test_the_loss_of_a_sequence_is_the_mean_over_its_positions() -> None:
    logits, y = torch.arange(60.0).view(3, 4, 5).sin(), torch.arange(12).view(3, 4) % 5
    one_by_one = [nn.functional.cross_entropy(logits[i], y[i]) for i in range(3)]
    torch.testing.assert_close(PLAIN.loss(logits, y), torch.stack(one_by_one))


def plain_layers() -> nn.Module:
    first = (nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*first, nn.Conv2d(4, 6, 3, groups=2), nn.Flatten(), nn.Linear(216, 3))


@pytest.mark.parametrize("frozen", [False, True])
def test_plain_layers_cost_the_same_within_a_module_of_unknown_kind(frozen: bool) -> None:
    """The first are counted on the CPU, the second on the meta device."""

    class Unknown(nn.Sequential):
        pass

    layers, x = plain_layers(), torch.zeros(1, 1, 16, 16)
    layers[0].weight.requires_grad_(not frozen)
    assert flops_per_example(layers, x) == flops_per_example(Unknown(layers), x) > 0


def test_an_mlp_costs_six_flops_per_weight() -> None:
    """Two in the forward product, twice that in the backward ones."""
    counted = flops_per_example(Mlp((128,))(images(1, 8)), images(1, 8).x[:1])
    assert counted == 6 * (64 * 128 + 128 * 10)


def test_a_convolution_costs_its_kernel_at_every_place() -> None:
    first = 6 * 28 * 28 * 25
    second = 16 * 10 * 10 * 25 * 6
    dense = 400 * 120 + 120 * 84 + 84 * 10
    assert flops_per_example(Lenet()(images()), images().x[:1]) == 6 * (first + second + dense)


def test_an_lstm_costs_its_gates_at_every_character() -> None:
    gates = 4 * 16 * (8 + 16) + 4 * 16 * (16 + 16)
    model = CharLstm(hidden=16)(text(6))
    assert flops_per_example(model, text(6).x[:1]) == 6 * 6 * (gates + 16 * 65)


class Peeking(nn.Linear):
    """Looks at its input, which the meta device cannot show."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if float(x.sum()) == 0.0 else x


def test_a_model_that_looks_at_its_data_is_counted_too() -> None:
    assert flops_per_example(Peeking(4, 3), torch.zeros(1, 4)) == 6 * 12


def test_counting_leaves_the_model_as_it_was() -> None:
    model = Mlp()(images()).train()
    flops_per_example(model, images().x[:1])
    assert model.training
    assert all(not p.is_meta for p in model.parameters())
