"""Whatever strategy runs is overheard: versions, evaluations and targets, with Flower's classes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from toyflower import scene

import simfl
from simfl.errors import PluginError
from simfl.interop.flower.metrics import Columns
from simfl.interop.flower.metrics import number as scalar
from simfl.results.verify import verify

flwr = pytest.importorskip("flwr", reason="needs Flower: pip install 'simfl[flower]'")

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays  # noqa: E402
from flwr.server import Server, ServerAppComponents, ServerConfig, SimpleClientManager  # noqa: E402
from flwr.server.strategy import FedAvg as Classic  # noqa: E402
from flwr.serverapp import ServerApp  # noqa: E402
from flwr.serverapp.strategy import FedAvg, Strategy  # noqa: E402

SIX = scene(
    {
        "count": 6,
        "compute": {"kind": "constant", "s": 1.0},
        "network": {"down_mbps": 1.0, "up_mbps": 1.0},
    },
    stop={"target": {"accuracy": 0.35}},
)


def start() -> ArrayRecord:
    return ArrayRecord([np.zeros(3, np.float32)])


def accuracy(number: int, arrays: Any) -> MetricRecord:
    """A tenth for every round that is in the model."""
    return MetricRecord({"accuracy": 0.1 * float(arrays.to_numpy_ndarrays()[0][0])})


def clients() -> ClientApp:
    client = ClientApp()

    @client.train()
    def train(message: Message, context: Any) -> Message:
        (model,) = message.content["arrays"].to_numpy_ndarrays()
        metrics = MetricRecord({"num-examples": 1, "node": context.node_config["partition-id"]})
        content = {"arrays": ArrayRecord([model + 1]), "metrics": metrics}
        return Message(RecordDict(content), reply_to=message)

    @client.evaluate()
    def evaluate(message: Message, context: Any) -> Message:
        metrics = {**accuracy(0, message.content["arrays"]), "num-examples": 1}
        return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)

    return client


def run(main: Callable[[Any, Any], None], fleet: Any = SIX, client: Any = None) -> Any:
    server = ServerApp()
    server.main()(main)
    return simfl.flower.run(server, client or clients(), fleet)


def broken(result: Any) -> list[str]:
    return [check.law for check in verify(result) if check.wrong]


class OwnStart(FedAvg):
    """Its `start` leaves the strategy's other parts as they are."""

    def start(self, grid, initial_arrays, num_rounds=3, evaluate_fn=None, **rest):
        arrays = initial_arrays
        for number in range(1, num_rounds + 1):
            messages = self.configure_train(number, arrays, ConfigRecord(), grid)
            found, _ = self.aggregate_train(number, grid.send_and_receive(messages))
            arrays = arrays if found is None else found
            (evaluate_fn or rest["test"].evaluate)(number, arrays)


class OwnAverage(OwnStart):
    """It averages by itself, too: nothing is said of a version but the next model."""

    def start(self, grid, initial_arrays, num_rounds=3, evaluate_fn=None, **rest):
        (model,) = initial_arrays.to_numpy_ndarrays()
        for number in range(1, num_rounds + 1):
            arrays = ArrayRecord([model])
            replies = grid.send_and_receive(
                self.configure_train(number, arrays, ConfigRecord(), grid)
            )
            model = np.mean([r.content["arrays"].to_numpy_ndarrays()[0] for r in replies], axis=0)
            self.evaluate_fn(number, ArrayRecord([model]))


class Overridden(FedAvg):
    """As many apps have it: something before, something after, and the inherited method."""

    def aggregate_train(self, server_round, replies):
        arrays, metrics = super().aggregate_train(server_round, [r for r in replies if r])
        return arrays, metrics

    def start(self, *args, **options):
        return super().start(*args, **options)


def given(strategy: Any, **more: Any) -> Callable[[Any, Any], None]:
    def main(grid, context):
        strategy.start(grid=grid, initial_arrays=start(), num_rounds=9, **more)

    return main


def own(strategy: Any) -> Any:
    strategy.evaluate_fn = accuracy
    return strategy


def by_hand(grid: Any, context: Any) -> None:
    """A loop of the app's own that uses a strategy's parts; devices evaluate."""
    strategy, arrays = FedAvg(fraction_train=1.0), start()
    for number in range(1, 10):
        messages = strategy.configure_train(number, arrays, ConfigRecord(), grid)
        arrays, _ = strategy.aggregate_train(number, grid.send_and_receive(messages))
        messages = strategy.configure_evaluate(number, arrays, ConfigRecord(), grid)
        strategy.aggregate_evaluate(number, grid.send_and_receive(messages))


def defined_late(grid: Any, context: Any) -> None:
    class Late(Overridden):
        def aggregate_evaluate(self, server_round, replies):
            return super().aggregate_evaluate(server_round, replies)

    given(Late())(grid, context)


QUIET = {"fraction_evaluate": 0.0}
LOOPS = {
    "inherited start": given(FedAvg(**QUIET), evaluate_fn=accuracy),
    "devices evaluate": given(FedAvg()),
    "own start": given(OwnStart(**QUIET), evaluate_fn=accuracy),
    "own average": given(own(OwnAverage(**QUIET))),
    "super of both": given(Overridden(**QUIET), evaluate_fn=accuracy),
    "a loop by hand": by_hand,
    "a class defined late": defined_late,
}


@pytest.mark.parametrize("loop", LOOPS)
def test_versions_evaluations_and_targets_are_seen_in_every_kind_of_loop(loop: str) -> None:
    result = run(LOOPS[loop])
    assert result.summary["ended"] == "target"
    later = result.evaluations[result.evaluations["version"] > 0]
    assert later["version"].tolist() == [1, 2, 3, 4]
    assert later["accuracy"].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert result.versions["updates"].tolist() == [6, 6, 6, 6]
    assert result.summary["wasted_share"] == 0.0
    assert broken(result) == []


def test_clusters_that_aggregate_one_after_the_other_use_all_replies() -> None:
    """Two models a round: what the first did not use is not thrown away before the second."""

    def main(grid, context):
        strategies, models = [FedAvg(), FedAvg()], [start(), start()]
        for number in (1, 2):
            messages = FedAvg(fraction_train=1.0).configure_train(
                number, models[0], ConfigRecord(), grid
            )
            replies = list(grid.send_and_receive(messages))
            for i in (0, 1):
                mine = [r for r in replies if r.content["metrics"]["node"] % 2 == i]
                models[i], _ = strategies[i].aggregate_train(number, mine)

    result = run(main, {**SIX, "stop": {}})
    assert result.versions["updates"].tolist() == [3, 3, 3, 3]
    assert result.summary["discarded"] == 0
    assert broken(result) == []


def test_a_model_made_for_one_device_is_no_version() -> None:
    def main(grid, context):
        for number in range(3):
            models = [ArrayRecord([np.full(3, number + i / 10, np.float32)]) for i in range(6)]
            nodes = zip(models, grid.get_node_ids(), strict=True)
            contents = [(RecordDict({"arrays": model}), node) for model, node in nodes]
            grid.send_and_receive([Message(c, node, "train") for c, node in contents])

    assert run(main, {**SIX, "stop": {}}).versions["updates"].tolist() == [6, 6]


# The classic API.


class OwnServer(Server):
    """A loop of its own, with the inherited rounds."""

    def fit(self, num_rounds, timeout):
        self.parameters = self._get_initial_parameters(server_round=0, timeout=timeout)
        for number in range(1, num_rounds + 1):
            self.parameters, _, _ = self.fit_round(number, timeout)
            self.strategy.evaluate(number, self.parameters)
        return None, 0.0


class Duck:
    """A strategy that inherits nothing."""

    def __init__(self, inner: Classic) -> None:
        self.initialize_parameters = inner.initialize_parameters
        self.configure_fit, self.configure_evaluate = inner.configure_fit, inner.configure_evaluate
        self.inner = inner

    def aggregate_fit(self, *args):
        return self.inner.aggregate_fit(*args)

    def aggregate_evaluate(self, *args):
        return self.inner.aggregate_evaluate(*args)

    def evaluate(self, number, parameters):
        (model,) = parameters_to_ndarrays(parameters)
        return np.float32(1.0), {"accuracy": np.float32(model[0] / 10)}


@pytest.mark.parametrize("kind", ["own server", "duck"])
def test_the_classic_api_is_overheard_whoever_runs_the_rounds(kind: str) -> None:
    from flwr.client import NumPyClient

    class Plus(NumPyClient):
        def fit(self, parameters, config):
            return [parameters[0] + 1], 1, {}

    def evaluate(number, arrays, config):
        return np.float32(1.0), {"accuracy": torch.tensor(arrays[0][0] / 10)}

    def server_fn(context):
        initial = ndarrays_to_parameters([np.zeros(2, np.float32)])
        strategy: Any = Classic(
            initial_parameters=initial, fraction_evaluate=0.0, evaluate_fn=evaluate
        )
        config = ServerConfig(num_rounds=9)
        if kind == "own server":
            server = OwnServer(client_manager=SimpleClientManager(), strategy=strategy)
            return ServerAppComponents(server=server, config=config)
        return ServerAppComponents(strategy=Duck(strategy), config=config)

    client = ClientApp(client_fn=lambda context: Plus().to_client())
    result = simfl.flower.run(ServerApp(server_fn=server_fn), client, SIX)
    assert result.summary["ended"] == "target"
    later = result.evaluations[result.evaluations["version"] > 0]
    assert later["accuracy"].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert later["loss"].tolist() == [1.0] * 4
    assert result.versions["updates"].tolist() == [6, 6, 6, 6]


# What is not seen, and what is undone.


@pytest.mark.parametrize("form", ["arrays", "parameters", "list", "state dict"])
def test_the_last_model_of_a_loop_can_be_recorded_in_every_form(form: str) -> None:
    forms = {
        "arrays": lambda model: ArrayRecord([model]),
        "parameters": lambda model: ndarrays_to_parameters([model]),
        "list": lambda model: [model],
        "state dict": lambda model: {"w": torch.from_numpy(model)},
    }

    def main(grid: Any, context: Any) -> None:
        model = np.zeros(3, np.float32)
        for _ in range(2):
            content = RecordDict({"arrays": ArrayRecord([model])})
            messages = [Message(content, node, "train") for node in grid.get_node_ids()]
            replies = grid.send_and_receive(messages)
            model = np.mean([r.content["arrays"].to_numpy_ndarrays()[0] for r in replies], axis=0)
        simfl.flower.record(model=forms[form](model))

    result = run(main)
    assert result.versions["updates"].tolist() == [6, 6]
    assert result.summary["wasted_share"] == 0.0
    assert result.params.flat.tolist() == [2.0, 2.0, 2.0]
    assert broken(result) == []


def test_a_target_that_cannot_be_seen_is_warned_of(caplog: Any) -> None:
    def main(grid, context):
        grid.send_and_receive(
            FedAvg(fraction_train=1.0).configure_train(1, start(), ConfigRecord(), grid)
        )

    run(main)
    assert "simfl.flower.record(accuracy=...)" in caplog.text
    caplog.clear()
    run(main, {**SIX, "stop": {}})
    assert "simfl.flower.record(accuracy=...)" not in caplog.text


def test_all_patches_are_undone_also_after_an_exception() -> None:
    import flwr.server.compat.app as classic_app
    import flwr.server.server as classic_server
    import flwr.serverapp.strategy.fedavg as module

    owners = (Strategy, FedAvg, OwnStart, Classic, Server, classic_app, classic_server, module)
    before = [dict(vars(owner)) for owner in owners]

    def main(grid, context):
        defined_late(grid, context)
        assert dict(vars(FedAvg)) != before[1]
        raise KeyError

    with pytest.raises(PluginError):
        run(main, {**SIX, "stop": {}})
    after = [dict(vars(owner)) for owner in owners]
    for owner, one, other in zip(owners, before, after, strict=True):
        changed = {
            name for name in one.keys() | other.keys() if one.get(name) is not other.get(name)
        }
        assert changed - {"_abc_impl", "__warningregistry__"} == set(), owner


# Numbers.


@pytest.mark.parametrize(
    "value",
    [1, 0.5, np.float32(0.5), np.int64(1), np.array(0.5), torch.tensor(0.5), torch.tensor([2])],
)
def test_every_real_scalar_is_a_number(value: Any) -> None:
    assert scalar(value) == float(value)


@pytest.mark.parametrize(
    "value", [True, np.True_, torch.tensor(True), "0.5", None, 1j, np.ones(2), torch.ones(2), [1.0]]
)
def test_all_else_is_none(value: Any) -> None:
    assert scalar(value) is None


def test_per_cent_is_recognised_and_warned_of(caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        columns = Columns()
        found = [columns({"acc": value})["accuracy"] for value in (0.9, 10.0, 0.5, 91.5)]
    assert found == [0.9, 0.1, 0.005, 0.915]
    assert caplog.text.count("above 1") == 1
    assert "1 earlier value(s)" in caplog.text


@pytest.mark.parametrize(("percent", "found"), [(True, 0.009), (False, 0.9)])
def test_a_stated_unit_is_believed(percent: bool, found: float, caplog: Any) -> None:
    assert Columns(percent)({"accuracy": 0.9})["accuracy"] == pytest.approx(found)
    assert caplog.text == ""


def test_a_percentage_does_not_meet_a_fraction() -> None:
    def percent(number, arrays):
        return MetricRecord({"accuracy": 100 * accuracy(number, arrays)["accuracy"]})

    result = run(
        given(FedAvg(**QUIET), evaluate_fn=percent),
        {**SIX, "strategy": {"accuracy": "percent", "kind": "simfl.interop.flower:App"}},
    )
    assert result.summary["ended"] == "target"
    assert result.summary["final_accuracy"] == pytest.approx(0.4)
