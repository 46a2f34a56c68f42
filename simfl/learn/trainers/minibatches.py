"""Who trains beside whom, and on which examples at which step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from simfl.learn.trainers.jobs import passes
from simfl.learn.trainers.local_training import Local, Opened

_SMALL_BATCH = 16  # below this a shorter batch costs as much as a full one


@dataclass(frozen=True, eq=False)
class Plan:
    """The mini-batches of K jobs, in order of falling steps; S is the first one's number."""

    rows: Tensor  #: (S, K, B) int64, rows of the data set
    shares: Tensor  #: (S, K, B) weight of each example in its batch's mean, 0 where there is none
    active: list[int]  #: how many jobs take part in each step


def chunks(opened: Sequence[Opened], size: int, grain: int) -> Iterator[list[int]]:
    """Positions of jobs that train together, at most `size`, the longest first.

    What a job is padded to depends on the job alone, and so do its results.
    """

    def like(at: int) -> tuple[int, list[str]]:
        one = opened[at]
        return breadth(one.work.examples, one.work.batch_size, grain), sorted(one.context)

    def order(at: int) -> tuple[tuple[int, list[str]], int, int]:
        return like(at), -opened[at].work.steps, at

    for _, alike in groupby(sorted(range(len(opened)), key=order), key=like):
        together = list(alike)
        yield from (together[at : at + size] for at in range(0, len(together), size))


def breadth(n: int, batch_size: int, grain: int) -> int:
    """B: places for the examples of a batch, for a job on n of them; a multiple of `grain`."""
    power = 1 << (n - 1).bit_length()
    return -(-min(batch_size, max(_SMALL_BATCH, power)) // grain) * grain


def met(
    local: Local, opened: Opened, turn: Callable[[Tensor], Tensor] | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """A job's mini-batches one after the other: inputs, transformed, and targets.

    Examples in memory are copied once for each epoch; others are read batch by batch.
    turn: of inputs, example by example: how they lie in memory.
    """
    job, work, data = opened.job, opened.work, local.data
    n, size, drop_last = work.examples, work.batch_size, local.options.drop_last
    orders = passes(local.streams, job.device, job.index, n, size, work.steps, drop_last)
    if data.dataset.batchwise is None:
        x, y = (part.to(local.torch_device) for part in data.of(job.device, job.version))
        for order in orders:
            rows = torch.from_numpy(order).to(local.torch_device)
            inputs = x[rows] if turn is None else turn(x[rows])
            yield from zip(inputs.split(size), y[rows].split(size), strict=True)
        return
    generator = local.streams.generator("transforms", job.device, job.index)
    mine = data.partition[job.device]
    for order in orders:
        for start in range(0, len(order), size):
            x, y = data.dataset.batch(mine[order[start : start + size]], generator)
            x = x.to(local.torch_device)
            yield x if turn is None else turn(x), y.to(local.torch_device)


def plan(local: Local, opened: Sequence[Opened], slots: int, grain: int) -> Plan:
    """The mini-batches of these jobs, in `slots` columns of which the last may be empty."""
    steps = [one.work.steps for one in opened]
    width = breadth(opened[0].work.examples, opened[0].work.batch_size, grain)
    rows = np.zeros((steps[0], slots, width), np.int64)
    shares = np.zeros((steps[0], slots, width), np.float32)
    for at, one in enumerate(opened):
        _seat(local, one, rows[:, at], shares[:, at])
    active = np.searchsorted(-np.array(steps), -np.arange(steps[0]), side="left").tolist()
    on_device = [torch.from_numpy(part).to(local.torch_device) for part in (rows, shares)]
    return Plan(on_device[0], on_device[1], active)


def _seat(local: Local, one: Opened, rows: np.ndarray, shares: np.ndarray) -> None:
    """Fills in one job's mini-batches.

    rows, shares: (S, B) views.
    """
    job, work = one.job, one.work
    n, size = work.examples, work.batch_size
    mine, step = local.data.partition[job.device], 0
    drop_last = local.options.drop_last
    for order in passes(local.streams, job.device, job.index, n, size, work.steps, drop_last):
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            rows[step, : len(batch)] = mine[batch]
            shares[step, : len(batch)] = 1.0 / len(batch)
            step += 1
