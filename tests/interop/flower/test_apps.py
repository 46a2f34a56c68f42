"""Flower's own apps, unmodified: the three that are shipped, and small ones written here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toyflower import present, scene

import simfl
from simfl.cli import main as command
from simfl.results.verify import verify

flwr = pytest.importorskip("flwr", reason="needs Flower: pip install 'simfl[flower]'")

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.common import ndarrays_to_parameters  # noqa: E402
from flwr.serverapp import ServerApp  # noqa: E402
from flwr.serverapp import strategy as strategies  # noqa: E402
from flwr.serverapp.strategy import FedAvg  # noqa: E402

APPS = Path(__file__).parents[3] / "scenarios" / "flower"
SECONDS = {"compute": {"kind": "constant", "s": 1.0}, "network": {"down_mbps": 1.0, "up_mbps": 1.0}}


def broken(result: Any) -> list[str]:
    return [check.law for check in verify(result) if check.wrong]


@pytest.mark.parametrize("name", ["message", "classic", "asynchronous"])
def test_a_shipped_app_runs_from_the_command_line_and_twice_to_the_last_bit(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["flower", str(APPS / name), "--fleet", "flower/phones", "--json", "--out"]
    summaries = []
    for again in ("a", "b"):
        assert command([*words, str(tmp_path / again)]) == 0
        summaries.append(json.loads(capsys.readouterr().out))
    assert summaries[0] == summaries[1]
    result = simfl.open(tmp_path / "a")
    assert result.summary["ended"] == "app ended"
    assert result.summary["applied"] > 50
    assert result.summary["lost"] > 0
    assert command(["verify", str(tmp_path / "a")]) == 0


def test_a_run_folder_s_scenario_repeats_the_run(tmp_path: Path) -> None:
    """Its app's own options included, unless they are changed."""
    first, rounds = APPS / "classic", "num-server-rounds=2"
    once = simfl.flower.run_folder(first, "flower/phones", tmp_path / "a", run_config=rounds)
    scenario = str(tmp_path / "a" / "scenario.toml")
    again = simfl.flower.run_folder(first, scenario)
    assert again.digest == once.digest
    assert (
        simfl.flower.run_folder(first, scenario, run_config="learning-rate=0.5").digest
        != once.digest
    )
    assert command(["run", scenario, "--out", str(tmp_path / "b")]) == 2


def test_options_of_the_app_come_from_the_command_line(tmp_path: Path, capsys: Any) -> None:
    app, out = str(APPS / "message"), ["--json", "--out", str(tmp_path / "run")]
    words = ["flower", app, "--fleet", "flower/phones", "--run-config", "num-server-rounds=1"]
    assert command([*words, "--set", "strategy.epochs=1.0", "--seed", "3", *out]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["versions"], summary["seed"]) == (1, 3)
    assert command([*words, "--run-config", "num-rounds=1", *out]) == 2
    assert "did you mean 'num-server-rounds'" in capsys.readouterr().err


def test_what_an_app_prints_stays_out_of_the_json(tmp_path: Path, capsys: Any) -> None:
    app = shutil.copytree(APPS / "classic", tmp_path / "app")
    with (app / "server_app.py").open("a", encoding="utf-8") as file:
        file.write("print('hello from the app')\n")
    words = ["flower", str(app), "--fleet", "flower/phones", "--out", str(tmp_path / "run")]
    assert command([*words, "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["name"] == "flower-phones"
    assert "hello from the app" in told.err


@pytest.mark.parametrize("name", ["FedAdam", "FedMedian", "FedProx", "FedXgbCyclic", "Krum"])
def test_strategies_of_flower_run_as_they_are(name: str) -> None:
    _, client = message_apps(1, [])
    server = ServerApp()

    @server.main()
    def main(grid, context):
        options = {"FedProx": {"proximal_mu": 0.1}, "Krum": {"num_malicious_nodes": 1}}
        strategy = getattr(strategies, name)(fraction_evaluate=0.0, **options.get(name, {}))
        strategy.start(grid=grid, initial_arrays=ArrayRecord([np.zeros(3)]), num_rounds=2)

    result = simfl.flower.run(server, client, scene({"count": 6, **SECONDS}))
    assert result.versions["updates"].tolist() == ([1, 1] if name == "FedXgbCyclic" else [6, 6])
    assert np.ptp(result.params.flat.numpy()) == 0.0 < float(result.params.flat[0])
    assert broken(result) == []


# The same learning in Flower and in simfl.


@pytest.mark.parametrize("faults", [{}, {"drop_probability": 0.2, "hazard_per_hour": 30.0}])
def test_fedavg_is_the_same_in_flower_and_in_simfl(faults: dict[str, float]) -> None:
    """Times, bytes and parameters; a device makes three full-batch steps of softmax regression."""
    group = {"device": "phone-mid", "network": "lte", "count": 8, "faults": faults}
    table = {
        "seed": 5,
        "fleet": {"group": [group]},
        "learning": {
            "dataset": "digits",
            "partition": {"kind": "dirichlet", "alpha": 0.5},
            "model": {"kind": "softmax"},
            "batch_size": 2000,
            "lr": 0.3,
        },
        "strategy": {"kind": "fedavg", "cohort": 8, "epochs": 3.0},
        "stop": {"versions": 4},
    }
    ours = simfl.run(table)
    server, client = same_learning(table, rounds=4)
    theirs = simfl.flower.run(server, client, table, **{"strategy.charge": "arrays"})
    tasks = [r.tasks.sort_values(["version", "device"]) for r in (ours, theirs)]
    for column in SAME:
        assert tasks[0][column].tolist() == tasks[1][column].tolist(), column
    assert bool(faults) == bool(ours.summary["lost"])
    assert tasks[0]["weight"].tolist() == pytest.approx(tasks[1]["weight"].tolist())
    assert ours.params.flat.tolist() == pytest.approx(theirs.params.flat.tolist(), abs=1e-6)
    assert theirs.params.flat.abs().max() > 0.1
    serialised = simfl.flower.run(*same_learning(table, rounds=1), table)
    assert 0 < serialised.tasks["up_bytes"].max() - theirs.tasks["up_bytes"].max() < 1000


SAME = (
    *("device", "dispatched_s", "download_s", "train_s", "upload_s", "ended_s", "outcome", "cause"),
    *("phase", "down_bytes", "up_bytes", "examples", "epochs", "staleness"),
)


def same_learning(table: dict[str, Any], rounds: int) -> tuple[ServerApp, ClientApp]:
    """The learning of a simfl scenario as Flower apps."""
    from simfl.engine.loading import problem_of
    from simfl.scenario import parse
    from simfl.streams import Streams

    scenario = parse(table)
    problem = problem_of(scenario, Streams(scenario.seed))
    client, server = ClientApp(), ServerApp()
    start = {name: problem.initial[name] for name in problem.initial}

    @client.train()
    def train(message, context):
        x, y = problem.data.of(context.node_config["partition-id"])
        model = problem.model
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        for _ in range(3):
            model.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= 0.3 * p.grad
        content = {
            "arrays": ArrayRecord(model.state_dict()),
            "metrics": MetricRecord({"num-examples": len(y)}),
        }
        return Message(RecordDict(content), reply_to=message)

    @server.main()
    def main(grid, context):
        strategy = FedAvg(fraction_train=1.0, fraction_evaluate=0.0, min_available_nodes=8)
        strategy.start(grid=grid, initial_arrays=ArrayRecord(start), num_rounds=rounds)

    return server, client


# What an app sees of its fleet.


def message_apps(rounds: int, seen: list[Any], **options: Any) -> tuple[ServerApp, ClientApp]:
    """FedAvg of the Message API; `seen` gets the replies of each round and the time."""
    client, server = ClientApp(), ServerApp()

    @client.train()
    def train(message, context):
        done = context.state["done"]["n"] + 1 if "done" in context.state else 1
        context.state["done"] = ConfigRecord({"n": done})
        arrays = [a + 1.0 for a in message.content["arrays"].to_numpy_ndarrays()]
        del message.content["arrays"]
        metrics = MetricRecord({"num-examples": 1, "done": done})
        content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": metrics})
        return Message(content, reply_to=message)

    class Seen(FedAvg):
        def aggregate_train(self, server_round, replies):
            replies = list(replies)
            seen.append(replies)
            return super().aggregate_train(server_round, replies)

    @server.main()
    def main(grid, context):
        import time

        strategy = Seen(fraction_evaluate=0.0, **options)
        start = ArrayRecord([np.zeros(3)])
        timeout = context.run_config.get("timeout", 3600.0)
        strategy.start(grid=grid, initial_arrays=start, num_rounds=rounds, timeout=timeout)
        seen.append(time.monotonic())

    return server, client


def test_a_timeout_of_flower_s_strategy_cuts_at_the_exact_second() -> None:
    seen: list[Any] = []
    slow = {**SECONDS, "compute": {"kind": "constant", "s": 9.0}}
    apps = message_apps(3, seen, fraction_train=1.0)
    fleet = scene({"count": 3, **SECONDS}, {"count": 2, **slow})
    result = simfl.flower.run(*apps, fleet, run_config="timeout=5.0")
    assert seen[-1] == 15.0
    assert [len(replies) for replies in seen[:-1]] == [3, 3, 3]
    assert result.versions["time_s"].tolist() == [5.0, 10.0, 15.0]
    assert broken(result) == []


def test_a_device_lost_in_its_upload_is_what_flower_calls_an_error(tmp_path: Path) -> None:
    from flwr.common.constant import ErrorCode

    seen: list[Any] = []
    path = present(tmp_path, [(0.0, 1.5)], [(0.0, 99.0)])
    result = simfl.flower.run(*message_apps(1, seen, fraction_train=1.0), path)
    (failed,) = [reply for reply in seen[0] if reply.has_error()]
    assert failed.error.code == ErrorCode.NODE_UNAVAILABLE
    assert failed.error.reason == "offline"
    lost = result.tasks[result.tasks["outcome"] == "lost"]
    assert lost[["device", "phase", "ended_s"]].to_numpy().tolist() == [[0, "upload", 1.5]]
    assert result.versions["updates"].tolist() == [1]


def test_contexts_last_and_messages_are_copies() -> None:
    seen: list[Any] = []
    simfl.flower.run(*message_apps(3, seen, fraction_train=1.0), scene({"count": 2, **SECONDS}))
    done = [[r.content["metrics"]["done"] for r in replies] for replies in seen[:-1]]
    assert done == [[1, 1], [2, 2], [3, 3]]


def test_an_app_waits_for_its_devices_in_virtual_time(tmp_path: Path) -> None:
    seen: list[Any] = []
    path = present(tmp_path, [(0.0, 999.0)], [(60.5, 999.0)])
    apps = message_apps(1, seen, fraction_train=1.0, min_available_nodes=2)
    result = simfl.flower.run(*apps, path)
    assert result.tasks["dispatched_s"].tolist() == [61.0, 61.0]


def test_the_bytes_are_those_of_the_serialised_messages() -> None:
    from flwr.common.serde import message_to_proto

    from simfl.messages import FRAME_BYTES

    seen: list[Any] = []
    result = simfl.flower.run(*message_apps(2, seen), scene({"count": 200, **SECONDS}))
    replies = [reply for replies in seen[:-1] for reply in replies]
    lengths = sorted(len(message_to_proto(r).SerializeToString()) + FRAME_BYTES for r in replies)
    assert sorted(result.tasks["up_bytes"]) == lengths
    assert len(set(lengths)) > 1


@pytest.mark.parametrize("shapes", [[()], [(0,)], [(7000,), (3,)], [(9000,)], [(500, 600), (1,)]])
def test_large_arrays_are_counted_as_they_would_be_serialised(shapes: list[Any]) -> None:
    from flwr.common.serde import message_to_proto

    from simfl.interop.flower.bridge.compat import TaskIdentity
    from simfl.interop.flower.bridge.messages import Flower

    if TaskIdentity is not None:  # newer releases ask who sends
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
    arrays = ArrayRecord([np.ones(shape, np.float32) for shape in shapes])
    more = {"again": ArrayRecord({"x": arrays["0"]}), "config": ConfigRecord({"lr": 0.1, "n": [1]})}
    message = Message(RecordDict({"arrays": arrays, **more}), 1_000_001, "train")
    blobs = [array.data for array in arrays.values()]
    assert Flower().nbytes(message) == len(message_to_proto(message).SerializeToString())
    assert [array.data for array in arrays.values()] == blobs


class FirstReplies:
    """An app's own wrapper of its grid: it returns with the first so many replies."""

    def __init__(self, grid: Any, goal: int) -> None:
        self.grid, self.goal, self.names = grid, goal, []

    def get_node_ids(self) -> Any:
        return self.grid.get_node_ids()

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Any]:
        self.names += self.grid.push_messages(messages)
        found: list[Any] = []
        while self.names and len(found) < self.goal:
            found += self.grid.pull_messages(self.names)
        for reply in found:
            self.names.remove(reply.metadata.reply_to_message_id)
        return found[: self.goal]


def test_only_what_a_strategy_was_given_is_in_its_version() -> None:
    """The app polls without sleeping, and takes late replies without using them."""
    _, client = message_apps(1, [])
    server = ServerApp()

    @server.main()
    def main(grid, context):
        strategy = FedAvg(fraction_evaluate=0.0)
        start = ArrayRecord([np.zeros(3)])
        strategy.start(grid=FirstReplies(grid, 3), initial_arrays=start, num_rounds=3)

    compute = {"kind": "uniform", "low_s": 1.0, "high_s": 2.0}
    result = simfl.flower.run(server, client, scene({"count": 6, **SECONDS, "compute": compute}))
    assert result.versions["updates"].tolist() == [3, 3, 3]
    assert result.summary["staleness_max"] <= 1
    unused = result.tasks[result.tasks["outcome"] == "discarded"]
    assert set(unused["cause"]) == {"not aggregated", "unused at the end"}
    assert broken(result) == []


# The classic API.


def classic_apps(
    failures: list[Any], timeout: float | None = None, initial: bool = True
) -> tuple[ServerApp, ClientApp]:
    """FedAvg of the classic API on a NumPyClient that adds one."""
    from flwr.client import NumPyClient
    from flwr.server import ServerAppComponents, ServerConfig
    from flwr.server.strategy import FedAvg as Classic

    class Plus(NumPyClient):
        def get_parameters(self, config):
            return [np.full(2, 5.0)]

        def fit(self, parameters, config):
            return [a + 1.0 for a in parameters], 1, {}

        def evaluate(self, parameters, config):
            return float(parameters[0][0]), 1, {}

    class Seen(Classic):
        def aggregate_fit(self, server_round, results, failed):
            failures.append(failed)
            return super().aggregate_fit(server_round, results, failed)

    def server_fn(context):
        start = ndarrays_to_parameters([np.zeros(2)]) if initial else None
        return ServerAppComponents(
            strategy=Seen(initial_parameters=start),
            config=ServerConfig(num_rounds=2, round_timeout=timeout),
        )

    return ServerApp(server_fn=server_fn), ClientApp(client_fn=lambda context: Plus().to_client())


def test_the_classic_api_runs_and_its_devices_evaluate() -> None:
    result = simfl.flower.run(*classic_apps([]), scene({"count": 4, **SECONDS}))
    assert result.params.flat.tolist() == [2.0, 2.0]
    assert result.evaluations["loss"].tolist() == [1.0, 2.0]
    assert result.versions["updates"].tolist() == [4, 4]
    assert broken(result) == []


def test_the_classic_api_asks_a_device_for_its_first_model() -> None:
    result = simfl.flower.run(*classic_apps([], initial=False), scene({"count": 4, **SECONDS}))
    assert result.params.flat.tolist() == [7.0, 7.0]
    assert "get_parameters" in set(result.tasks["cause"])


def test_the_classic_api_counts_timeouts_and_losses_as_failures(tmp_path: Path) -> None:
    failures: list[Any] = []
    slow = {**SECONDS, "compute": {"kind": "constant", "s": 90.0}}
    fleet = scene({"count": 3, **SECONDS}, {"count": 1, **slow})
    result = simfl.flower.run(*classic_apps(failures, timeout=5.0), fleet)
    assert result.versions["time_s"].iloc[0] == 5.0
    assert [len(failed) for failed in failures] == [1, 1]


def test_the_classic_api_waits_for_its_devices_in_virtual_time(tmp_path: Path) -> None:
    path = present(tmp_path, [(0.0, 999.0)], [(60.5, 999.0)])
    result = simfl.flower.run(*classic_apps([]), path)
    assert result.tasks["dispatched_s"].min() == 61.0


def test_a_legacy_workflow_runs_too() -> None:
    from flwr.server import LegacyContext, ServerConfig
    from flwr.server.strategy import FedAvg as Classic
    from flwr.server.workflow import DefaultWorkflow

    server = ServerApp()

    @server.main()
    def main(grid, context):
        start = ndarrays_to_parameters([np.zeros(2)])
        legacy = LegacyContext(
            context, config=ServerConfig(num_rounds=2), strategy=Classic(initial_parameters=start)
        )
        DefaultWorkflow()(grid, legacy)

    result = simfl.flower.run(server, classic_apps([])[1], scene({"count": 4, **SECONDS}))
    assert result.versions["updates"].tolist() == [4, 4]
