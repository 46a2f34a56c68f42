"""A small learning problem and jobs of many kinds on it, for the tests of trainers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from simfl.learn.datasets.base import Dataset
from simfl.learn.models.base import Mlp, build
from simfl.learn.partition.base import Partition
from simfl.learn.trainers.jobs import Job, JobResult, LocalData, TrainingOptions
from simfl.learn.trainers.local_training import Local
from simfl.params import Params
from simfl.strategy.base import Context, LocalRule
from simfl.strategy.special_rules import MomentumRule
from simfl.streams import Streams

STREAMS = Streams(5)
SIZES = (1, 3, 4, 9, 10, 17)  # examples on each device: less than a batch, one, some, a rest


def images(shape: tuple[int, ...] = (1, 6, 6), classes: int = 4) -> Dataset:
    """Noise with labels, enough for SIZES."""
    rng, n = STREAMS.generator("images"), sum(SIZES)
    x = torch.from_numpy(rng.standard_normal((n, *shape), dtype=np.float32))
    y = torch.from_numpy(rng.integers(classes, size=n))
    return Dataset("noise", x, y, x, y, classes)


def problem(
    factory: Callable[[Dataset], nn.Module] | None = None,
    rule: LocalRule | None = None,
    dataset: Dataset | None = None,
    **options: Any,
) -> Local:
    """Everything around the steps of jobs on devices that hold SIZES examples."""
    dataset = dataset or images()
    partition = Partition.from_sizes(STREAMS.generator("deal").permutation(len(dataset)), SIZES)
    chosen = TrainingOptions(**{"batch_size": 4, "lr": 0.1, **options})
    model = build(factory or Mlp((8,)), dataset, 3)
    return Local(model, LocalData(dataset, partition), chosen, rule or LocalRule(), STREAMS)


def jobs(local: Local, **kept: Any) -> list[Job]:
    """One for each device, of unlike lengths, from two versions of the model."""
    bases = [local.initial, local.initial * 0.5]
    return [
        Job(bases[d % 2], d, index=d, version=d % 2, epochs=1.0 + d % 3, **kept)
        for d in range(len(SIZES))
    ]


def deltas(trained: Sequence[JobResult]) -> list[Tensor]:
    """The (P,) tensors that were sent."""
    return [one.report.delta.flat for one in trained]


def equal(a: Sequence[JobResult], b: Sequence[JobResult]) -> bool:
    """Whether two trainers' results agree to the last bit."""
    same = all(torch.equal(x, y) for x, y in zip(deltas(a), deltas(b), strict=True))
    return same and [(x.loss, x.loss_rms) for x in a] == [(x.loss, x.loss_rms) for x in b]


def distance(a: Sequence[JobResult], b: Sequence[JobResult]) -> float:
    """The largest relative difference between what two trainers send, or between losses."""
    pairs = list(zip(a, b, strict=True))
    sent = [float((x - y).norm() / y.norm()) for x, y in zip(deltas(a), deltas(b), strict=True)]
    losses = [abs(x.loss / y.loss - 1) + abs(x.loss_rms / y.loss_rms - 1) for x, y in pairs]
    return max(sent + losses)


def noise(params: Params, seed: int) -> Tensor:
    """(T,) small numbers, as a rule may get or remember them."""
    rng = STREAMS.generator("noise", seed)
    return torch.from_numpy(rng.normal(0.0, 0.1, params.layout.trainable).astype(np.float32))


class Pull(LocalRule):
    """A penalty that autograd must differentiate, with a constant of its own for each device."""

    def prepare(self, base: Any, extras: Any, memory: Any, work: Any) -> tuple[Tensor, Context]:
        return base, {"far": base[: work.trainable] + 1.0, "mu": base.new_tensor([work.examples])}

    def penalty(self, y: Tensor, context: Context) -> Tensor:
        return 0.01 * context["mu"].squeeze(-1) * (y - context["far"]).square().sum(-1)


class Drift(MomentumRule):
    """Starts elsewhere, clips each element, and walks on past the momentum."""

    def prepare(self, base: Any, extras: Any, memory: Any, work: Any) -> tuple[Tensor, Context]:
        return base * 1.5, {}

    def correct(self, grad: Tensor, y: Tensor, context: Context) -> Tensor:
        return grad.clamp(-0.05, 0.05)

    def momentum_correction(self, y: Tensor, context: Context) -> Tensor:
        return 0.1 * (y - context["base"])
