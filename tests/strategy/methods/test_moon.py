"""MOON: limits, what is refused, and what its looks at other models cost."""

from __future__ import annotations

import pytest
import torch

import simfl
from simfl.errors import PluginError, ScenarioError
from simfl.strategy.methods.moon import contrast

SECONDS = {"kind": "constant", "s": 1.0}


def table(kind="moon", **local):
    return {
        "fleet": {"group": [{"compute": SECONDS, "count": 5}]},
        "learning": {
            "dataset": "digits",
            "partition": {"kind": "dirichlet", "alpha": 0.3},
            "model": {"kind": "mlp", "hidden": [8]},
            "batch_size": 40,
        },
        "strategy": {"kind": kind, "cohort": 3, **({"local": local} if local else {})},
        "stop": {"versions": 4},
    }


def contrastive(**options):
    return table("moon") | {
        "strategy": {"kind": "moon", "cohort": 3, "local": {"kind": "contrastive", **options}}
    }


def test_without_mu_it_is_fedavg_bit_for_bit():
    alone = {"learning.trainer": "one-by-one"}
    plain = simfl.run(table("fedavg"), seed=2, **alone)
    assert simfl.run(contrastive(mu=0.0), seed=2).params.flat.equal(plain.params.flat)
    assert not simfl.run(contrastive(mu=1.0), seed=2).params.flat.equal(plain.params.flat)


def test_where_no_device_comes_twice_there_is_nothing_to_contrast_with():
    once = {"strategy.cohort": 5, "stop.versions": 1}
    plain = simfl.run(table("fedavg"), seed=2, **once, **{"learning.trainer": "one-by-one"})
    assert simfl.run(contrastive(mu=3.0), seed=2, **once).params.flat.equal(plain.params.flat)


def test_the_term_is_the_logarithm_of_a_softmax():
    near, far = torch.tensor([2.0, 0.0, -400.0]), torch.tensor([0.0, 0.0, 400.0])
    expected = -torch.log_softmax(torch.stack([near, far]), 0)[0]
    assert torch.allclose(contrast(near, far), expected)
    assert contrast(near, far)[2] == 800.0


@pytest.mark.parametrize("timing", [False, True])
def test_two_more_forward_passes_make_a_step_five_thirds_as_long(timing):
    """On devices whose time goes with the work; without mu nothing is looked at."""
    seconds = {}
    for mu in (0.0, 1.0):
        fast = {"fleet": {"group": [{"compute": {"gflops": 1e-3}, "count": 5}]}}
        tasks = simfl.run(contrastive(mu=mu) | fast, seed=2, timing=timing).tasks
        seconds[mu] = tasks.sort_values("task").train_s.to_numpy()
    assert seconds[1.0] == pytest.approx(seconds[0.0] * 5 / 3)


@pytest.mark.parametrize("trainer", ["batched", "compiled"])
def test_other_trainers_refuse_it(trainer):
    with pytest.raises(ScenarioError, match="features of each mini-batch"):
        simfl.run(contrastive(), **{"learning.trainer": trainer})


def test_a_training_function_adds_the_penalty_or_is_refused():
    def train(model, data, work, added=True):
        optimizer = work.optimizer()
        for x, y in data.batches():
            optimizer.zero_grad()
            loss = work.loss(model(x), y).mean()
            (loss + work.penalty() if added else loss).backward()
            work.step(optimizer)

    table = contrastive()
    alone = simfl.run(table, seed=2, **{"learning.trainer": "one-by-one"})
    assert simfl.run(table, seed=2, train=train, **{"learning.trainer": "one-by-one"}).digest == (
        alone.digest
    )
    with pytest.raises(PluginError, match=r"never adds work\.penalty\(\) to the loss"):
        simfl.run(table, train=lambda *given: train(*given, added=False))


def test_a_model_without_linear_layers_is_refused():
    class Bare(torch.nn.Module):
        def __init__(self, classes):
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(64, classes))

        def forward(self, x):
            return x.flatten(1) @ self.w

    with pytest.raises(ScenarioError, match="last linear layer"):
        simfl.run(contrastive(), model=lambda dataset: Bare(dataset.classes))


def test_the_rule_works_under_other_strategies():
    buffered = {"kind": "fedbuff", "concurrency": 4, "buffer": 2}
    runs = [
        simfl.run(contrastive() | {"strategy": {**buffered, "local": local}}, seed=1)
        for local in ("contrastive", "plain")
    ]
    assert not runs[0].params.flat.equal(runs[1].params.flat)
    assert runs[0].tasks.staleness.equals(runs[1].tasks.staleness)
