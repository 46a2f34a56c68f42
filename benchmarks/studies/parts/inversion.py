"""Single searches for data that explains an update: what they cost and what they give away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch

import simfl
from simfl.engine.loading import problem_of
from simfl.learn.problem import Problem
from simfl.learn.trainers.jobs import Job
from simfl.learn.trainers.local_training import Local
from simfl.learn.trainers.one_by_one import OneByOne, single_thread
from simfl.messages import Update
from simfl.params import Params
from simfl.strategy.base import LearningInfo, LocalRule
from simfl.strategy.methods.gradientinversion.estimate import rows_of, search, search_flops
from simfl.strategy.methods.gradientinversion.recover import Draft, Effort
from simfl.streams import Streams

SCENE = "gradientinversion/digits"
LATE = range(17, 20)
COLD, WARM = Effort(300), Effort(40, lr=0.03)


class _Still:
    """A server at version 0."""

    version = 0


@cache
def _problem(seed: int) -> tuple[Problem, Any, Streams]:
    scenario = simfl.load(SCENE, {}, seed)
    streams = Streams(seed)
    return problem_of(scenario, streams), scenario.learning, streams


def _learning_info(seed: int) -> LearningInfo:
    problem, options, _ = _problem(seed)
    x = problem.data.dataset.x
    bounds = float(x.min()), float(x.max())
    model = problem.model.eval()
    return LearningInfo(
        problem.flops, options.batch_size, model, tuple(x.shape[1:]), 10, bounds, options.training
    )


def sent(seed: int, device: int, base: Params) -> Update:
    """What a device sends after five epochs from this model."""
    problem, options, streams = _problem(seed)
    local = Local(problem.model, problem.data, options.training, LocalRule(), streams)
    trainer = OneByOne(local)
    (done,) = trainer.train([Job(base, device, 0, epochs=5.0)])
    return Update(
        0, device, 0, base, done.report.delta, {}, done.examples, done.steps, done.epochs,
        done.loss, done.loss_rms, 0.0, 0.0, _Still(), options.lr,
    )  # fmt: skip


def searched(update: Update, seed: int, effort: Effort, begin: Draft | None = None) -> Draft:
    """Half as many examples as the device has."""
    info, rng = _learning_info(seed), np.random.default_rng(seed)
    return search(info, update, rows_of(info, update, 0.5), effort, begin, rng)


def _updates(seeds: range) -> Iterator[tuple[int, Update]]:
    for seed in seeds:
        for device in LATE:
            yield seed, sent(seed, device, _problem(seed)[0].initial)


def searches(seeds: range) -> pd.DataFrame:
    """Cost of a device's first search and of one that begins where it ended."""
    rows = []
    with single_thread():
        for seed, update in _updates(seeds):
            begin = None
            for name, effort in (("cold", COLD), ("warm", WARM)):
                began_s = time.process_time()
                begin = searched(update, seed, effort, begin)
                spent_s = time.process_time() - began_s
                info = _learning_info(seed)
                n = rows_of(info, update, 0.5)
                gflop = search_flops(info, n, update.epochs, effort) / 1e9
                rows.append((name, effort.iterations, n, gflop, spent_s, begin.loss))
    names = ["search", "iterations", "rows", "GFLOP", "CPU seconds here", "relative loss"]
    return pd.DataFrame(rows, columns=names).groupby("search").mean().round(3)


def recovery(seeds: range) -> pd.DataFrame:
    """How many labels of a device can be read off: Σ min(true share, recovered share)."""
    rows = []
    with single_thread():
        for seed, update in _updates(seeds):
            dataset, partition = _problem(seed)[0].data.dataset, _problem(seed)[0].data.partition
            true = shares(torch.from_numpy(dataset.labels[partition[update.device]]))
            for keep in (1.0, 0.25, 0.05):
                draft = searched(update, seed, Effort(300, keep=keep))
                found = shares(draft.logits.argmax(-1))
                overlap = float(torch.minimum(true, found).sum())
                rows.append((f"{keep:.0%}", overlap, float(true.max()), draft.loss))
    names = ["matched", "labels recovered", "largest class alone", "relative loss"]
    return pd.DataFrame(rows, columns=names).groupby("matched", sort=False).mean().round(3)


def shares(labels: torch.Tensor) -> torch.Tensor:
    """(10,) share of each class."""
    return torch.bincount(labels, minlength=10) / len(labels)
