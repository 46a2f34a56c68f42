"""Personal baselines: each is something simpler in its limit case."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import simfl
from simfl.params import Layout
from simfl.results.verify import verify
from simfl.strategy.base import Work
from simfl.strategy.methods.personal.whole_model import Ditto
from simfl.strategy.special_rules import PersonalContext
from simfl.structure import ModelStructure
from simfl.testing import Played, strategies

LR = 0.1


def scenario(local: Any, devices: int = 4, **learning: Any) -> dict[str, Any]:
    return {
        "fleet": {"group": [{"count": devices, "compute": {"gflops": 1e-4}}]},
        "learning": {
            **{"dataset": "digits", "model": {"kind": "mlp", "hidden": [8]}, "lr": LR},
            **{"partition": {"kind": "dirichlet", "alpha": 0.2}, "trainer": "one-by-one"},
            **learning,
        },
        "strategy": {"kind": "fedavg", "cohort": devices, "epochs": 1, "local": local},
        "evaluate": {"every_versions": 1, "personal": local == "plain"},
        "stop": {"versions": 3},
    }


@cache
def played(rule: str, devices: int = 4, **options: Any) -> simfl.Result:
    local = {"kind": rule, **options} if options else rule
    return simfl.run(scenario(local, devices))


def test_alone_on_a_fleet_of_one_is_plain_training() -> None:
    one, plain = played("alone", 1), played("plain", 1)
    for column in ("loss", "pers_global", "pers_local"):
        wanted = "accuracy" if column == "pers_global" else column
        assert np.allclose(one.evaluations[column], plain.evaluations[wanted], atol=1e-6)


def test_alone_sends_nothing_and_the_other_devices_change_nothing() -> None:
    run = played("alone")
    assert len(run.params) == 0
    assert set(run.tasks.down_bytes) == set(run.tasks.up_bytes) == {64}
    assert run.evaluations.pers_local.iloc[-1] > 0.9  # few classes each
    assert run.evaluations.pers_global.iloc[-1] < 0.6


@pytest.mark.parametrize("options", [{}, {"finetune_epochs": 0.0}])
def test_fine_tuning_changes_what_is_judged_and_not_what_is_trained(options: Any) -> None:
    tuned, plain = played("finetuned", **options), played("plain")
    assert torch.equal(tuned.params.flat, plain.params.flat)
    assert tuned.tasks.equals(plain.tasks)
    same = np.allclose(tuned.evaluations.pers_local, plain.evaluations.pers_local, atol=1e-12)
    assert same == bool(options)


def test_ditto_trains_the_shared_model_as_if_it_were_alone() -> None:
    plain = played("plain")
    for options in ({}, {"personal_steps": 0}, {"mu": 5.0}):
        assert torch.equal(played("ditto", **options).params.flat, plain.params.flat)
    nothing = played("ditto", personal_steps=0).evaluations.pers_local
    assert np.allclose(nothing, plain.evaluations.pers_local, atol=1e-12)


def test_ditto_without_a_pull_is_gradient_descent_on_the_device() -> None:
    """On a fleet of one, against the loop written by hand."""
    own = {}
    rule = Ditto(mu=0.0, personal_steps=3)
    report = Ditto.report

    def kept(self: Any, *given: Any) -> Any:
        told = report(self, *given)
        own.update(told.memory)
        return told

    data = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 4, generator=data), torch.arange(40) % 3
    net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ditto, "report", kept)
        table = scenario(rule, 1, dataset=(x, y, x, y), model=net, partition="iid")
        simfl.run({**table, "stop": {"versions": 2}})
    for _ in range(6):
        net.zero_grad()
        cross_entropy(net(x), y).backward()
        for value in net.parameters():
            value.data -= LR * value.grad
    by_hand = torch.cat([value.data.reshape(-1) for value in net.parameters()])
    torch.testing.assert_close(own["model"], by_hand, rtol=1e-6, atol=1e-6)


def test_a_pull_of_one_over_the_rate_ends_one_step_from_the_shared_model() -> None:
    layout = Layout((("x", (3,)),), 3)
    shared, own = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([5.0, 5.0, 5.0])
    structure = ModelStructure(layout, (), ("x",))
    device = PersonalContext(structure, shared, lambda point: 0.0, 0, {}, {"model": own})
    work = Work(4, 4.0, 1.0, 1, 4, LR, 0.0, 3, lambda point: 0.5 * point, device)
    rule = Ditto(mu=1.0 / LR, personal_steps=1)
    kept = rule.report(shared, shared, {}, work).memory["model"]
    torch.testing.assert_close(kept, shared - LR * 0.5 * own)


def test_fedrep_that_trains_both_together_is_fedper() -> None:
    fedper = played("privatehead")
    same = played("fedrep", head_steps=0, alternate=False)
    assert torch.equal(same.params.flat, fedper.params.flat)
    assert np.array_equal(same.evaluations.pers_local, fedper.evaluations.pers_local)


def test_fedrep_without_steps_of_its_head_leaves_it_as_it_was() -> None:
    """With `transfer_epochs` = 0 a device that took part is judged with the untrained head."""
    frozen = played("fedrep", head_steps=0, transfer_epochs=0.0)
    table = scenario({"kind": "privatehead", "transfer_epochs": 0.0})
    table["strategy"]["epochs"] = 1e-9
    assert not torch.equal(frozen.params.flat, played("privatehead").params.flat)
    first = frozen.evaluations.loss.iloc[0]
    assert np.isclose(simfl.run(table).evaluations.loss.iloc[0], first)
    fitted = played("fedrep", head_lr=0.5)
    assert fitted.evaluations.pers_local.iloc[-1] > frozen.evaluations.pers_local.iloc[-1]


@pytest.mark.parametrize(("rule", "steps"), [("ditto", 5), ("fedrep", 10)])
def test_steps_beside_the_mini_batches_take_time(rule: str, steps: int) -> None:
    """Each is a pass over the local data, and a task is one pass by itself."""
    times = played(rule).tasks.train_s / played("plain").tasks.train_s
    assert np.allclose(times, 1 + steps)
    assert [check.wrong for check in verify(played(rule)) if check.wrong] == []


@pytest.mark.parametrize("rule", ["alone", "finetuned", "ditto", "fedrep"])
@pytest.mark.parametrize("contract", [strategies.timing_alone, strategies.a_run_repeats])
def test_they_keep_the_contracts_of_strategies(rule: str, contract: Any) -> None:
    contract(Played({"kind": "fedbuff", "concurrency": 6, "buffer": 2, "local": rule}))
