"""Each loss is PyTorch's of one example; targets of another kind are refused, never broadcast."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from simfl.errors import DataError, PluginError
from simfl.learn.datasets.base import Dataset
from simfl.learn.objective.base import Objective, as_objective, has_right_answers, title
from simfl.learn.objective.losses import PLAIN, Bce, CrossEntropy, Mse, NextToken, is_plain

LOGITS = torch.arange(12.0).view(4, 3).sin() * 3
LABELS = torch.tensor([0, 1, 2, 1])
VALUES = torch.arange(4.0)
FLAGS = torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]])


class Huber:
    """Somebody's own objective, which knows nothing of simfl."""

    metrics = ("mae",)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.huber_loss(outputs.squeeze(-1), targets, reduction="none")


class Summed(Huber):
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().loss(outputs, targets).sum()


def classes() -> Dataset:
    return Dataset("labels", LOGITS, LABELS, LOGITS, LABELS, 3)


@pytest.mark.parametrize(
    ("objective", "outputs", "targets", "expected"),
    [
        (PLAIN, LOGITS, LABELS, F.cross_entropy(LOGITS, LABELS)),
        (
            CrossEntropy(label_smoothing=0.2),
            *(LOGITS, LABELS, F.cross_entropy(LOGITS, LABELS, label_smoothing=0.2)),
        ),
        (Mse(), LOGITS[:, :1], VALUES, F.mse_loss(LOGITS[:, 0], VALUES)),
        (Mse(), LOGITS, FLAGS, F.mse_loss(LOGITS, FLAGS)),
        (Bce(), LOGITS, FLAGS, F.binary_cross_entropy_with_logits(LOGITS, FLAGS)),
        (NextToken(), LOGITS.view(2, 2, 3), LABELS.view(2, 2), F.cross_entropy(LOGITS, LABELS)),
    ],
)
def test_the_mean_over_a_batch_is_what_pytorch_says(
    objective: Objective, outputs: Tensor, targets: Tensor, expected: Tensor
) -> None:
    losses = objective.loss(outputs, targets)
    assert losses.shape == (len(targets),)
    torch.testing.assert_close(losses.mean(), expected)


def test_a_class_weight_multiplies_the_losses_of_its_examples() -> None:
    weighted = CrossEntropy(class_weights=(1.0, 3.0, 0.0)).loss(LOGITS, LABELS)
    torch.testing.assert_close(weighted, PLAIN.loss(LOGITS, LABELS) * torch.tensor([1, 3, 0, 3]))


def test_padding_counts_for_nothing() -> None:
    """A sequence with padding has the loss and the accuracy of what comes before."""
    outputs, targets = LOGITS.view(1, 4, 3), torch.tensor([[1, 2, 0, 0]])
    padded, short = NextToken(ignore=0), NextToken()
    for judge in ("loss", "right"):
        whole = getattr(padded, judge)(outputs, targets)
        torch.testing.assert_close(whole, getattr(short, judge)(outputs[:, :2], targets[:, :2]))


def test_flags_are_right_one_by_one() -> None:
    outputs = torch.tensor([[-1.0, 2, 2], [-1, -1, -1], [torch.nan, 0, 0], [1, 1, 1]])
    right = Bce().right(outputs, FLAGS)
    assert right[[0, 1, 3]].tolist() == pytest.approx([1.0, 2 / 3, 1.0])
    assert right[2].isnan()


def test_outputs_of_another_size_are_refused_and_not_broadcast() -> None:
    with pytest.raises(ValueError, match="one output for each target"):
        Mse().loss(LOGITS, VALUES)


@pytest.mark.parametrize("objective", [Mse(), Bce()])
def test_classes_are_no_values(objective: Objective) -> None:
    with pytest.raises(DataError, match=r"3 classes.*y\.float\(\)"):
        objective.check(classes())


def test_class_weights_are_one_for_each_class() -> None:
    with pytest.raises(DataError, match=r"has 2 entries.*3 classes"):
        CrossEntropy(class_weights=(1.0, 2.0)).check(classes())


def test_only_cross_entropy_with_nothing_to_it_is_plain() -> None:
    assert is_plain(CrossEntropy())
    assert not is_plain(CrossEntropy(label_smoothing=0.1))
    assert not is_plain(as_objective(Huber()))


def test_any_object_with_a_loss_is_an_objective() -> None:
    own = as_objective(Huber())
    assert title(own) == "Huber"
    assert own.metrics == ("mae",)
    assert not has_right_answers(own)
    assert own.right(LOGITS, VALUES) is None
    expected = F.huber_loss(LOGITS[:, 0], VALUES, reduction="none")
    torch.testing.assert_close(own.loss(LOGITS[:, :1], VALUES), expected)


def test_an_own_loss_that_is_not_one_per_example_is_named() -> None:
    with pytest.raises(PluginError, match=r"objective Summed\.loss.*expected a tensor of shape"):
        as_objective(Summed()).loss(LOGITS[:, :1], VALUES)
