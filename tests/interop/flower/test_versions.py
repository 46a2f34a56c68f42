"""Versions, weights and evaluations of an app, as far as a run can see them."""

from __future__ import annotations

from typing import Any

import pytest
from toyflower import SECOND, ToyMessage, answer, model, played, scene

from simfl.errors import PluginError, ScenarioError
from simfl.interop.flower import record
from simfl.interop.flower.metrics import columns
from simfl.results.verify import verify


def ask(value: float, *devices: int) -> list[ToyMessage]:
    return [ToyMessage(device, model=model(value), weight=SECOND) for device in devices]


def test_a_version_is_made_when_the_model_in_the_messages_changes() -> None:
    def main(grid, context):
        for value in (0.0, 0.0, 1.0, 2.0):
            grid.send_and_receive(ask(value, 0, 1))

    result = played(main, scene({"count": 2}))
    assert result.versions["time_s"].tolist() == [6.0, 9.0]
    assert result.versions["updates"].tolist() == [4, 2]
    assert result.tasks["weight"].tolist() == [0.25] * 4 + [0.5] * 2 + [0.0] * 2
    assert result.tasks["cause"].tolist()[6:] == ["unused at the end"] * 2
    assert result.params["model"].tolist() == [2.0]
    assert [check.law for check in verify(result) if check.wrong] == []


def test_staleness_counts_the_versions_since_a_message_left() -> None:
    """Device 1 is three times as slow as the others, whose replies are used at once."""

    def main(grid, context):
        (slow,) = grid.push(ask(0.0, 1))
        for value in (0.0, 1.0, 2.0):
            grid.send_and_receive(ask(value, 0))
        while not grid.pull([slow]):
            grid.sleep(0.5)
        grid.push(ask(3.0, 0))

    fast = {"compute": {"gflops": 1e6}, "network": {"down_mbps": 0.016, "up_mbps": 0.016}}
    result = played(main, scene({"count": 1, **fast}, {"count": 1}))
    tasks = result.tasks[result.tasks["outcome"] == "applied"].sort_values("task")
    assert tasks["staleness"].tolist() == [2, 0, 0, 0]


@pytest.mark.parametrize(("told", "weights"), [([30, 10], [0.75, 0.25]), ([30, None], [0.5, 0.5])])
def test_replies_weigh_by_their_examples_if_all_tell(told, weights) -> None:
    def client(message, context):
        reply = answer(message, context)
        reply.metrics = {"num-examples": told[message.device]} if told[message.device] else {}
        return reply

    def main(grid, context):
        grid.send_and_receive(ask(0.0, 0, 1))
        grid.push(ask(1.0, 0))

    result = played(main, scene({"count": 2}), client)
    assert result.tasks["weight"].tolist()[:2] == weights


def test_what_an_app_records_is_an_evaluation_and_meets_the_target() -> None:
    def main(grid, context):
        for value in range(100):
            grid.send_and_receive(ask(float(value), 0))
            record(accuracy=value / 10, share="no number")

    result = played(main, scene({"count": 1}, stop={"target": {"accuracy": 0.35}}))
    assert result.summary["ended"] == "target"
    assert result.evaluations["time_s"].tolist() == [3.0, 6.0, 9.0, 12.0, 15.0]
    assert result.evaluations["version"].tolist() == [0, 1, 2, 3, 4]
    record(accuracy=1.0)  # outside of a run nobody listens


@pytest.mark.parametrize("says", [False, True])
def test_the_last_model_is_a_version_if_the_app_records_it(says: bool, caplog: Any) -> None:
    def main(grid, context):
        for value in range(3):
            grid.send_and_receive(ask(float(value), 0))
        if says:
            record(model=model(3.0), accuracy=0.9)
            record(model=model(3.0))  # the same one again makes no other

    result = played(main, scene({"count": 1}))
    assert result.summary["versions"] == 2 + says
    assert (result.tasks["outcome"] == "applied").sum() == 2 + says
    assert ("took 1 train replies" in caplog.text) is not says
    if says:
        assert result.evaluations["version"].tolist()[-1] == 3
        assert float(result.params.flat[0]) == 3.0
    assert [check.law for check in verify(result) if check.wrong] == []


def test_a_model_that_is_none_is_refused_where_it_is_recorded() -> None:
    def main(grid, context):
        record(model="model.pt")

    with pytest.raises(PluginError, match="model is of type str; expected an ArrayRecord"):
        played(main, scene({"count": 1}))


def test_a_function_evaluates_every_version_of_an_app_that_does_not() -> None:
    def main(grid, context):
        for value in range(3):
            grid.send_and_receive(ask(float(value), 0))

    def score(arrays):
        return {"accuracy": float(arrays.blobs[0] != model(0.0)[0]), "loss": 0.1}

    plan = {"every_versions": 1}
    result = played(main, scene({"count": 1}, evaluate=plan), evaluate=score)
    assert result.evaluations["version"].tolist() == [0, 1, 2]
    assert result.evaluations["accuracy"].tolist() == [0.0, 1.0, 1.0]


def test_columns_find_accuracy_and_loss_under_other_names() -> None:
    assert columns({"eval_acc": 0.5, "eval_loss": 2}) == {
        "eval_acc": 0.5, "eval_loss": 2.0, "accuracy": 0.5, "loss": 2.0,
    }  # fmt: skip
    found = columns({"acc": 0.1, "top5_acc": 0.2, "time_s": 3.0, "name": "x", "loss": 1.0})
    assert found["accuracy"] != found["accuracy"]
    assert found["app_time_s"] == 3.0
    assert "name" not in found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"wire": {"up": [{"kind": "bf16"}]}}, "wire.up do not apply to a Flower app"),
        ({"sweep": {"seed": [1, 2]}}, "one run at a time"),
        ({"strategy": {"kind": "simfl.interop.flower:App", "epochs": 2.0, "steps": 3}}, "epochs"),
        (
            {"strategy": {"kind": "simfl.interop.flower:App", "steps": 3, "train_gflop": 1.0}},
            "stated twice",
        ),
    ],
)
def test_what_a_flower_app_cannot_have_is_said(change, said) -> None:
    with pytest.raises(ScenarioError, match=said):
        played(lambda grid, context: None, {**scene({"count": 1}), **change})
