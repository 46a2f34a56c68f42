"""Training and evaluation by the user's own functions, on the whole engine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).parents[1] / "plugin" / "src"))

import simfl
from simfl.engine.explain import explain
from simfl.engine.verify import audit
from simfl.errors import PluginError
from simfl.scenario import parse

GROUP = {"compute": {"kind": "exponential", "mean_s": 1.0}, "count": 6}
X = torch.from_numpy(np.random.default_rng(0).normal(size=(90, 5)).astype("float32"))
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0)
FAULTS = {"on": False, "tasks": 0}


def the_same(model: nn.Module, data: simfl.DeviceData, work: simfl.TaskWork) -> None:
    """What simfl does by itself."""
    optimizer = work.optimizer()
    for x, y in data.batches():
        optimizer.zero_grad()
        work.loss(model(x), y).mean().backward()
        work.step(optimizer)


def by_hand(model: nn.Module, data: simfl.DeviceData, work: simfl.TaskWork) -> None:
    """The same with torch alone, but for the step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=work.lr)
    for x, y in data.batches():
        optimizer.zero_grad()
        work.loss(model(x), y).mean().backward()
        work.step(optimizer)


def reports(model: nn.Module, data: simfl.DeviceData, work: simfl.TaskWork) -> simfl.Trained:
    """One step on everything, and a cost that it makes up."""
    cross_entropy(model(data.x), data.y).backward()
    with torch.no_grad():
        for value in model.parameters():
            value -= 0.1 * value.grad
    return simfl.Trained(
        examples=10 + work.device, steps=1, loss=0.5, seconds=2.0 + work.device + work.index
    )


def remembers(model: nn.Module, data: simfl.DeviceData, work: simfl.TaskWork) -> None:
    """The device counts its tasks, and keeps a tensor; the server breaks down once, if asked to."""
    FAULTS["tasks"] += 1
    if FAULTS["on"] and FAULTS["tasks"] == 9:
        raise RuntimeError("the server's own fault")
    work.memory["tasks"] = work.memory.get("tasks", 0) + 1
    pull = work.memory.setdefault("pull", torch.zeros(5))
    noise = torch.randn(5, generator=work.generator) + torch.randn(5) + np.random.normal()  # noqa: NPY002
    work.memory["pull"] = 0.5 * pull + noise
    the_same(model, data, work)
    with torch.no_grad():
        model[-1].weight += 0.01 * work.memory["pull"] * work.memory["tasks"]


def scenario(strategy: Any = None, group: Any = None, **learning: Any) -> dict[str, Any]:
    return {
        "fleet": {"group": [{**GROUP, **(group or {})}]},
        "learning": {
            **{"dataset": (X[:60], Y[:60], X[60:], Y[60:]), "model": "softmax"},
            **{"batch_size": 4, "lr": 0.1, "trainer": "one-by-one", **learning},
        },
        "strategy": strategy or {"kind": "fedavg", "cohort": 3, "epochs": 2},
        "evaluate": {"every_versions": 1},
        "stop": {"versions": 3},
    }


STRATEGIES = {
    "rounds": None,
    "buffered": {"kind": "fedbuff", "concurrency": 4, "buffer": 2, "steps": 3},
    "penalty": {"kind": "fedavg", "cohort": 3, "local": {"kind": "proximal", "mu": 0.5}},
    "variates": {"kind": "scaffold", "cohort": 3},
    "dynamic": {"kind": "feddyn", "cohort": 3},
    "set points": {"kind": "asyncfeded", "concurrency": 3},
    "asked for a part": {"kind": "quafl", "cohort": 3, "every_s": 0.7},
}


@pytest.mark.parametrize("train", [the_same, by_hand])
@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_a_loop_that_does_the_same_gives_the_same_run(strategy: Any, train: Any) -> None:
    given = scenario(strategy)
    own = simfl.run(given, train=train)
    assert own.digest == simfl.run(given).digest
    assert own.tasks.train_loss[own.tasks.outcome == "applied"].notna().all()


OPTIONS = {
    "momentum": {"momentum": 0.9, "clip_norm": 0.5, "weight_decay": 0.01},
    "kept moments": {"optimizer": {"kind": "adam", "keep": True}},
    "rates within a task": {"schedule": {"kind": "cosine", "over": 4, "by": "steps"}},
    "transforms": {"transforms": [{"kind": "simfl_relay.problem:jitter"}]},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_of_learning_count_in_an_own_loop_too(options: Any) -> None:
    given = scenario(**options)
    assert simfl.run(given, train=the_same).digest == simfl.run(given).digest


def test_a_codec_and_a_momentum_rule_count_too() -> None:
    spatl = {"kind": "spatl", "cohort": 3, "local": {"kind": "salient", "agent": "all"}}
    given = scenario(spatl, model={"kind": "mlp", "hidden": [4]})
    given["wire"] = {"up": [{"kind": "topk", "keep": 0.5}], "down": [{"kind": "quantize"}]}
    assert simfl.run(given, train=the_same).digest == simfl.run(given).digest
    assert simfl.run(given, train=by_hand).digest == simfl.run(given).digest


def test_what_a_loop_reports_reaches_the_clock_the_weights_and_the_tables(tmp_path: Path) -> None:
    run = simfl.run(scenario(), train=reports, out=tmp_path / "run")
    tasks = run.tasks.sort_values("task")
    index = tasks.groupby("device").cumcount()
    assert np.allclose(tasks.train_s, 2.0 + tasks.device + index)
    applied = tasks[tasks.outcome == "applied"]
    assert (applied.train_loss == 0.5).all()
    shares = (10 + applied.device).groupby(applied.applied_version).transform(lambda n: n / n.sum())
    assert np.allclose(applied.weight, shares)
    assert [check.wrong for check in audit(run) if check.wrong] == []


def test_flops_that_a_loop_reports_take_the_device_that_long() -> None:
    group = {"compute": {"gflops": 2.0}}
    done = simfl.run(
        scenario(group=group), train=lambda m, d, w: simfl.Trained(flops=8e9, loss=1.0)
    )
    assert np.allclose(done.tasks.train_s, 4.0)


def test_a_loop_that_stops_early_is_charged_for_what_it_did() -> None:
    def impatient(model: nn.Module, data: simfl.DeviceData, work: simfl.TaskWork) -> None:
        next(data.batches())

    group = {"compute": {"gflops": 1e-6}}
    whole, part = (simfl.run(scenario(group=group), train=one) for one in (the_same, impatient))
    assert np.allclose(whole.tasks.epochs, 2.0)
    assert np.allclose(part.tasks.epochs, 0.4)
    assert np.allclose(part.tasks.train_s, whole.tasks.train_s / 5)


def test_with_timing_alone_the_function_is_not_called_and_the_summary_says_so() -> None:
    timed = simfl.run(scenario(), train=reports, timing=True)
    assert "reports was not called" in timed.summary["work"]


def test_a_study_takes_functions_and_sweeps_them(tmp_path: Path) -> None:
    loops = {"plain": the_same, "its own": reports}
    swept = {"learning.train": loops}
    found = simfl.study(scenario(), seeds=[0], sweep=swept, out=tmp_path, progress=False).table
    assert found["final_loss"].nunique() == 2


def test_a_loss_that_is_not_reported_is_unknown_and_no_divergence() -> None:
    done = simfl.run(scenario(), train=lambda model, data, work: None)
    assert done.summary["ended"] == "versions"
    assert done.tasks.train_loss.isna().all()
    with pytest.raises(simfl.errors.Diverged):
        simfl.run(scenario(), train=lambda model, data, work: simfl.Trained(loss=float("nan")))


def test_memory_draws_workers_and_resume_change_nothing(tmp_path: Path) -> None:
    given = scenario(STRATEGIES["buffered"]) | {"checkpoint": {"every_s": 0.1}}
    given["stop"] = {"versions": 6}
    whole = simfl.run(given, train=remembers)
    FAULTS.update(on=True, tasks=0)
    with pytest.raises(PluginError, match=r"remembers on device \d .*own fault.* at test_own"):
        simfl.run(given, train=remembers, out=tmp_path / "run")
    FAULTS["on"] = False
    resumed = simfl.run(given, train=remembers, out=tmp_path / "run", resume=True)
    assert FAULTS["tasks"] < 9 + len(whole.tasks)  # it did not begin anew
    assert resumed.digest == whole.digest


@pytest.mark.study
def test_workers_call_the_function_too() -> None:
    given = scenario(STRATEGIES["buffered"])
    assert (
        simfl.run(given, train=remembers, workers=2).digest
        == simfl.run(given, train=remembers).digest
    )


def raises(model: nn.Module, data: simfl.DeviceData, work: simfl.TaskWork) -> None:
    raise ValueError("no such layer")


def replaces(model: nn.Module, data: simfl.DeviceData, work: simfl.TaskWork) -> None:
    model[-1] = nn.Linear(5, 7)


def forgets(model: nn.Module, data: simfl.DeviceData, work: simfl.TaskWork) -> None:
    work.memory["net"] = nn.Linear(2, 2)


def ignores(model: nn.Module, data: simfl.DeviceData, work: simfl.TaskWork) -> None:
    return None


PENALTY = {"strategy": STRATEGIES["penalty"]}
TRAINED = r"expected simfl\.Trained\(\.\.\.\) or None"
WRONG = {
    "raises": (raises, {}, r"\S*raises on device \d .*no such layer.* at test_own_loop\.py:\d+"),
    "returns": (lambda *given: 0.3, {}, rf"returned 0\.3, {TRAINED}"),
    "reports": (lambda *given: simfl.Trained(steps=0), {}, r"steps=0\): expected 1 or more"),
    "replaces": (replaces, {}, r"changed the model: 1\.weight has the shape \(7, 5\), expected"),
    "remembers": (forgets, {}, r"left a Linear in work\.memory\['net'\].*keep its state_dict"),
    "ignores a rule": (ignores, PENALTY, "local rule Proximal would have no"),
    "ignores options": (ignores, {"clip_norm": 1.0}, r"learning\.clip_norm would have no effect"),
    "ignores adam": (ignores, {"optimizer": "adam"}, "optimizer Adam makes its steps: use work"),
}


@pytest.mark.parametrize(("train", "options", "said"), WRONG.values(), ids=WRONG)
def test_what_a_loop_does_wrong_is_one_sentence(train: Any, options: Any, said: str) -> None:
    with pytest.raises(PluginError, match=said) as told:
        simfl.run(scenario(**options), train=train)
    assert "\n" not in str(told.value)


def test_what_is_no_function_is_refused_before_the_run() -> None:
    with pytest.raises(simfl.InputError, match=r"learning\.train is 3, expected a function"):
        simfl.run(scenario(), train=3)
    with pytest.raises(simfl.InputError, match=r"train.*'adam' is not a training function"):
        simfl.run(scenario(), train="adam")
    batched = scenario(trainer="batched")
    with pytest.raises(simfl.InputError, match="the_same makes its steps; use"):
        simfl.run(batched, train=the_same)


def test_a_file_names_a_function_and_hands_it_its_options() -> None:
    table = {"kind": "simfl_relay.problem:distil", "temperature": 2.0}
    given = scenario(train=table, trainer="auto")
    first = simfl.run(given)
    assert first.summary["trainer"] == "one-by-one: simfl_relay.problem:distil makes its steps"
    again = parse(given)
    assert again.resolved()["learning"]["train"] == table
    facts = explain(again).facts
    assert "one-by-one: simfl_relay.problem:distil makes its steps" in facts["trainer"]
    assert "unless simfl_relay.problem:distil reports others" in facts["a task"]
    hotter = scenario(train={**table, "temperature": 5.0}, trainer="auto")
    assert simfl.run(hotter).digest != first.digest


def accuracy_of(model: nn.Module, dataset: simfl.Dataset) -> dict[str, Any]:
    """A value that simfl knows, and one that it does not."""
    assert not model.training
    right = (model(dataset.x_test).argmax(-1) == dataset.y_test).float().mean()
    return {"accuracy": right, "regret": 1 - float(right)}


def test_an_own_evaluation_gives_the_columns_and_the_target() -> None:
    given = scenario()
    plain, own = simfl.run(given), simfl.run(given, evaluate=accuracy_of)
    assert np.allclose(own.evaluations.accuracy, plain.evaluations.accuracy, rtol=1e-6)
    assert own.evaluations.loss.isna().all()
    assert torch.equal(own.params.flat, plain.params.flat)
    with pytest.raises(simfl.InputError, match=r'which way regret is better .* regret = "lower"'):
        simfl.run({**given, "stop": {"target": {"regret": 0.5}}}, evaluate=accuracy_of)
    table = {"kind": "simfl_relay.problem:regret_of", "directions": {"regret": "lower"}}
    stop = {"target": {"regret": 0.9}, "versions": 5}
    ended = simfl.run({**scenario(evaluate=table), "stop": stop})
    assert ended.summary["ended"] == "target"
    assert ended.evaluations.regret.iloc[-1] <= 0.9


@pytest.mark.parametrize(
    ("evaluate", "said"),
    [
        (lambda model, dataset: 0.5, r"returned 0\.5, expected values by name"),
        (lambda model, dataset: {"loss": "low"}, r"returned 'low' as loss, expected one number"),
        (lambda model, dataset: {"loss": model.nothing}, r"evaluation \S+ .* at test_own_loop"),
    ],
)
def test_what_an_evaluation_does_wrong_is_one_sentence(evaluate: Any, said: str) -> None:
    with pytest.raises(PluginError, match=said):
        simfl.run(scenario(), evaluate=evaluate)


class Gan(nn.Module):
    """Two networks in one, of which neither computes anything from an example alone."""

    def __init__(self) -> None:
        super().__init__()
        self.make, self.judge = nn.Linear(2, 5), nn.Linear(5, 1)


def compete(model: Gan, data: simfl.DeviceData, work: simfl.TaskWork) -> simfl.Trained:
    makes, judges = (
        torch.optim.Adam(part.parameters(), 0.01) for part in (model.make, model.judge)
    )
    for x, _ in data.batches():
        fake = model.make(torch.randn(len(x), 2, generator=work.generator))
        judges.zero_grad()
        (model.judge(fake.detach()).mean() - model.judge(x).mean()).backward()
        judges.step()
        makes.zero_grad()
        loss = -model.judge(fake).mean()
        loss.backward()
        makes.step()
    return simfl.Trained(loss=loss.item(), flops=1e6)


def test_two_networks_compete_and_nothing_is_classified() -> None:
    def distance(model: Gan, dataset: simfl.Dataset) -> dict[str, Any]:
        return {"gap": (model.make(torch.randn(50, 2)).mean(0) - dataset.x.mean(0)).norm()}

    given = {"model": Gan, "train": compete, "evaluate": distance}
    group = {"compute": {"gflops": 1e-3}}
    run = simfl.run(scenario(group=group), **given)
    assert run.summary["ended"] == "versions"
    assert np.allclose(run.tasks.train_s, 1.0)
    assert run.evaluations.gap.nunique() == 4
    costless = {**given, "train": lambda model, data, work: simfl.Trained(loss=1.0)}
    with pytest.raises(PluginError, match=r"return simfl\.Trained\(flops=\.\.\.\)"):
        simfl.run(scenario(), **costless)
