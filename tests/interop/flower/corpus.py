"""Small apps in the manner of those that people publish; each in the APIs in which it is found.

An app is a function that returns a server app and a client app; APPS has them by name.
"""

from __future__ import annotations

import csv
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.common import FitIns, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import Server, ServerAppComponents, ServerConfig, SimpleClientManager
from flwr.server import strategy as classic
from flwr.serverapp import ServerApp
from flwr.serverapp import strategy as modern

Apps = tuple[ServerApp, ClientApp]
ROUNDS = 3
QUIET = {"fraction_evaluate": 0.0}
APPS: dict[str, Callable[[], Apps]] = {}


def app(make: Callable[[], Apps]) -> Callable[[], Apps]:
    APPS[make.__name__.replace("_", " ")] = make
    return make


# What the apps share: a model of three numbers that devices pull towards their own number.


def start() -> ArrayRecord:
    return ArrayRecord([np.zeros(3, np.float32)])


def accuracy(server_round: int, arrays: Any) -> MetricRecord:
    return MetricRecord({"accuracy": float(min(1.0, np.mean(arrays.to_numpy_ndarrays()[0]) / 5))})


def fitted(message: Message, context: Any) -> tuple[Any, dict[str, Any]]:
    (model,) = message.content["arrays"].to_numpy_ndarrays()
    mine = context.node_config["partition-id"]
    return model + 0.5 * (mine - model), {"num-examples": 1 + mine, "train_loss": float(mine)}


def reply(message: Message, model: Any, metrics: dict[str, Any], **records: Any) -> Message:
    content = {"arrays": ArrayRecord([model]), "metrics": MetricRecord(metrics), **records}
    return Message(RecordDict(content), reply_to=message)


def modern_client(mods: Any = None) -> ClientApp:
    client = ClientApp(mods=mods)

    @client.train()
    def train(message: Message, context: Any) -> Message:
        return reply(message, *fitted(message, context))

    @client.evaluate()
    def evaluate(message: Message, context: Any) -> Message:
        metrics = {**accuracy(0, message.content["arrays"]), "num-examples": 1}
        return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)

    return client


class Pull(NumPyClient):
    def __init__(self, mine: int) -> None:
        self.mine = mine

    def fit(self, parameters, config):
        return [parameters[0] + 0.5 * (self.mine - parameters[0])], 1 + self.mine, {"loss": 1.0}

    def evaluate(self, parameters, config):
        return 0.5, 1, {"accuracy": float(np.mean(parameters[0]) / 5)}


def classic_client(kind: type = Pull, mods: Any = None) -> ClientApp:
    return ClientApp(lambda c: kind(c.node_config["partition-id"]).to_client(), mods=mods)


def modern_app(make: Callable[[], Any], client: ClientApp | None = None, **options: Any) -> Apps:
    """`make()` gives the strategy, in the main function, as apps do."""
    server = ServerApp()

    @server.main()
    def main(grid, context):
        options.setdefault("initial_arrays", start())
        make().start(grid=grid, num_rounds=ROUNDS, **options)

    return server, client or modern_client()


def classic_app(
    make: Callable[..., Any], client: ClientApp | None = None, server: Any = None
) -> Apps:
    def server_fn(context):
        strategy = make(initial_parameters=ndarrays_to_parameters([np.zeros(3, np.float32)]))
        parts = {"server": server(strategy)} if server else {"strategy": strategy}
        return ServerAppComponents(**parts, config=ServerConfig(num_rounds=ROUNDS))

    return ServerApp(server_fn=server_fn), client or classic_client()


# Own selection of clients, by what they said before.


class Loudest(modern.FedAvg):
    """Asks the nodes with the highest loss of the last round again, and two new ones."""

    last: tuple[int, ...] = ()

    def configure_train(self, server_round, arrays, config, grid):
        nodes = [*self.last, *(n for n in grid.get_node_ids() if n not in self.last)][:4]
        content = RecordDict({"arrays": arrays, "config": config})
        return [Message(content, node, "train") for node in nodes]

    def aggregate_train(self, server_round, replies):
        replies = [one for one in replies if one.has_content()]
        replies.sort(key=lambda one: -one.content["metrics"]["train_loss"])
        self.last = tuple(one.metadata.src_node_id for one in replies[:2])
        return super().aggregate_train(server_round, replies)


class Sampled(classic.FedAvg):
    def configure_fit(self, server_round, parameters, client_manager):
        client_manager.wait_for(4)
        clients = client_manager.sample(num_clients=4, min_num_clients=4)
        return [(client, FitIns(parameters, {"round": server_round})) for client in clients]


@app
def selection() -> Apps:
    return modern_app(lambda: Loudest(**QUIET), evaluate_fn=accuracy)


@app
def selection_classic() -> Apps:
    return classic_app(lambda **given: Sampled(**given))


# A tracker in the strategy's constructor: it waits for a real process (see `tracker`).


class Tracked(modern.FedAvg):
    def __init__(self, **options):
        super().__init__(**options)
        import tracker

        self.run = tracker.init()

    def aggregate_evaluate(self, server_round, replies):
        found = super().aggregate_evaluate(server_round, replies)
        self.run.log(dict(found), at=time.time())
        return found


class TrackedClassic(classic.FedAvg):
    def __init__(self, **options):
        super().__init__(**options)
        import tracker

        self.run = tracker.init()

    def evaluate(self, server_round, parameters):
        (model,) = parameters_to_ndarrays(parameters)
        metrics = {"accuracy": np.float32(np.mean(model) / 5)}
        self.run.log(metrics, at=time.time())
        return np.float32(0.5), metrics


@app
def tracker() -> Apps:
    return modern_app(Tracked)


@app
def tracker_classic() -> Apps:
    return classic_app(lambda **given: TrackedClassic(**given, **QUIET))


# Side files, named after the moment, with the time of each row.


class Rows:
    def __init__(self) -> None:
        self.path = Path(f"results-{datetime.now():%Y%m%d-%H%M%S}.csv")
        self.begun = time.perf_counter()

    def add(self, server_round: int, value: float) -> None:
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow([server_round, value, time.perf_counter() - self.begun])


@app
def side_files() -> Apps:
    rows = []

    def evaluate(server_round, arrays):
        rows.append(Rows()) if not rows else None
        found = accuracy(server_round, arrays)
        rows[0].add(server_round, found["accuracy"])
        return found

    return modern_app(lambda: modern.FedAdam(**QUIET), evaluate_fn=evaluate)


@app
def side_files_classic() -> Apps:
    rows = []

    def evaluate(server_round, parameters, config):
        rows.append(Rows()) if not rows else None
        rows[0].add(server_round, float(parameters[0][0]))
        return 0.1, {"accuracy": float(np.mean(parameters[0]) / 5)}

    return classic_app(
        lambda **given: classic.FedProx(proximal_mu=0.1, evaluate_fn=evaluate, **given)
    )


# Gradient boosted trees, which travel as bytes (of JSON, without the library).


def forest(trees: int) -> bytes:
    """What a booster saves, as far as it is read by a strategy that bags trees."""
    model = {
        "gbtree_model_param": {"num_trees": str(trees), "num_parallel_tree": "1"},
        "trees": [{"id": i} for i in range(trees)],
        "tree_info": [0] * trees,
        "iteration_indptr": list(range(trees + 1)),
    }
    return json.dumps({"learner": {"gradient_booster": {"model": model}}}).encode()


@app
def boosted_trees() -> Apps:
    client = ClientApp()

    @client.train()
    def train(message, context):
        return reply(message, np.frombuffer(forest(1), np.uint8), {"num-examples": 1})

    empty = ArrayRecord([np.frombuffer(b"", np.uint8)])
    return modern_app(lambda: modern.FedXgbBagging(**QUIET), client, initial_arrays=empty)


@app
def boosted_trees_classic() -> Apps:
    from flwr.client import Client
    from flwr.common import Code, FitRes, Parameters, Status

    class Booster(Client):
        def __init__(self, mine):
            """Every device grows one tree."""

        def fit(self, ins):
            parameters = Parameters(tensor_type="", tensors=[forest(1)])
            return FitRes(Status(Code.OK, ""), parameters, 1, {})

    def make(initial_parameters):
        return classic.FedXgbBagging(
            initial_parameters=Parameters(tensor_type="", tensors=[]), **QUIET
        )

    return classic_app(make, classic_client(Booster))


# What a device keeps: a head of its own, and a count.


@app
def client_state() -> Apps:
    client = ClientApp()

    @client.train()
    def train(message, context):
        state = context.state
        calls = state["count"]["calls"] + 1 if "count" in state else 1
        state["count"] = ConfigRecord({"calls": calls})
        state["head"] = ArrayRecord([np.full(2, calls, np.float32)])
        model, metrics = fitted(message, context)
        return reply(message, model, {**metrics, "calls": calls})

    return modern_app(lambda: modern.FedAvg(**QUIET), client, evaluate_fn=accuracy)


@app
def client_state_classic() -> Apps:
    class Keeper(Pull):
        def fit(self, parameters, config):
            state = self.context.state
            calls = state["count"]["calls"] + 1 if "count" in state else 1
            state["count"] = ConfigRecord({"calls": calls})
            return [parameters[0] + calls], 1, {"calls": calls}

    def client_fn(context):
        client = Keeper(0)
        client.context = context
        return client.to_client()

    return classic_app(lambda **given: classic.FedAvg(**given), ClientApp(client_fn=client_fn))


# Own loops: `start` with the best model kept, a server of one's own.


class Best(modern.FedAvg):
    def start(self, grid, initial_arrays, num_rounds=3, timeout=3600.0, evaluate_fn=None, **rest):
        arrays, best = initial_arrays, -1.0
        begun = time.time()
        for number in range(1, num_rounds + 1):
            messages = self.configure_train(number, arrays, ConfigRecord({"lr": 0.1}), grid)
            replies = grid.send_and_receive(messages, timeout=timeout)
            found, _ = self.aggregate_train(number, replies)
            arrays = arrays if found is None else found
            metrics = evaluate_fn(number, arrays)
            if metrics["accuracy"] > best:
                best = metrics["accuracy"]
                np.save("best.npy", arrays.to_numpy_ndarrays()[0])
        assert time.time() > begun


@app
def own_start() -> Apps:
    return modern_app(lambda: Best(**QUIET), evaluate_fn=accuracy)


class Patient(Server):
    """`fit` with early stopping."""

    def fit(self, num_rounds, timeout):
        self.parameters = self._get_initial_parameters(0, timeout)
        losses = []
        for number in range(1, num_rounds + 1):
            parameters, _, _ = self.fit_round(number, timeout)
            self.parameters = parameters or self.parameters
            loss, _, _ = self.evaluate_round(number, timeout)
            losses.append(loss)
            if len(losses) > 5 and min(losses[-5:]) >= losses[-6]:
                break
        return None, 0.0


def patient(strategy: Any) -> Server:
    return Patient(client_manager=SimpleClientManager(), strategy=strategy)


@app
def own_server_classic() -> Apps:
    return classic_app(lambda **given: classic.FedAvg(**given), server=patient)


# Threads: a server that asks each client from a thread, a loop with one thread for each node.


class Pooled(Patient):
    def fit_round(self, server_round, timeout):
        asked = self.strategy.configure_fit(server_round, self.parameters, self._client_manager)
        with ThreadPoolExecutor(max_workers=self.max_workers) as pool:
            futures = [
                pool.submit(lambda c, i: (c, c.fit(i, timeout, server_round)), *one)
                for one in asked
            ]
            wait(futures)
        results = [future.result() for future in futures]
        parameters, metrics = self.strategy.aggregate_fit(server_round, results, [])
        return parameters, metrics, (results, [])


@app
def threads_classic() -> Apps:
    def make(strategy):
        return Pooled(client_manager=SimpleClientManager(), strategy=strategy)

    return classic_app(lambda **given: classic.FedAvg(**given), server=make)


@app
def threads() -> Apps:
    server = ServerApp()

    @server.main()
    def main(grid, context):
        import simfl

        model, lock = np.zeros(3, np.float32), threading.Lock()

        def work(node: int) -> None:
            nonlocal model
            for _ in range(ROUNDS):
                with lock:
                    content = RecordDict({"arrays": ArrayRecord([model])})
                (found,) = grid.send_and_receive([Message(content, node, "train")])
                if found.has_error():
                    continue
                with lock:
                    theirs = found.content["arrays"].to_numpy_ndarrays()[0]
                    model = 0.5 * model + 0.5 * theirs
                    simfl.flower.record(**accuracy(0, ArrayRecord([model])))

        workers = [threading.Thread(target=work, args=(n,)) for n in grid.get_node_ids()]
        for one in workers:
            one.start()
        for one in workers:
            one.join()

    return server, modern_client()


# Mods: one of the app's own around one of Flower's.


def timed(message, context, call_next):
    begun = time.perf_counter()
    answer = call_next(message, context)
    assert time.perf_counter() >= begun
    return answer


@app
def mods() -> Apps:
    from flwr.clientapp.mod import arrays_size_mod, message_size_mod

    client = modern_client([timed, message_size_mod, arrays_size_mod])
    return modern_app(lambda: modern.FedAvgM(**QUIET), client, evaluate_fn=accuracy)


@app
def mods_classic() -> Apps:
    return classic_app(lambda **given: classic.FedMedian(**given), classic_client(mods=[timed]))


# Asynchronous: the model moves with every reply; slow devices meet a newer one.


@app
def asynchronous() -> Apps:
    server = ServerApp()

    @server.main()
    def main(grid, context):
        import simfl

        model, names = np.zeros(3, np.float32), []
        for number in range(4 * ROUNDS):
            busy = len(names)
            for node in grid.get_node_ids()[busy:4]:
                content = RecordDict({"arrays": ArrayRecord([model])})
                names += grid.push_messages([Message(content, node, "train")])
            while not (found := list(grid.pull_messages(names))):
                time.sleep(0.2)
            for one in found:
                names.remove(one.metadata.reply_to_message_id)
                if not one.has_error():
                    theirs = one.content["arrays"].to_numpy_ndarrays()[0]
                    model = model + 0.3 * (theirs - model)
            simfl.flower.record(accuracy=np.float32(model.mean() / 5), step=number)

    return server, modern_client()
