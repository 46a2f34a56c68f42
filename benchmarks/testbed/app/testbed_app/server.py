"""Rounds of FedAvg, or an asynchronous loop that answers every reply with the next message."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from testbed_app.notes import note

app = ServerApp()


class NotedFedAvg(FedAvg):
    """FedAvg that notes when a round begins and ends."""

    def configure_train(self, server_round: int, *args: Any, **options: Any) -> Iterable[Message]:
        note("server", "round", round=server_round)
        return super().configure_train(server_round, *args, **options)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        found = list(replies)
        good = sum(not reply.has_error() for reply in found)
        note("server", "replies", round=server_round, good=good, errors=len(found) - good)
        return super().aggregate_train(server_round, found)


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    model = np.random.default_rng(7).standard_normal(int(config["elements"])).astype(np.float32)
    while len(list(grid.get_node_ids())) < int(config["clients"]):
        time.sleep(1)
    note("server", "start")
    play = asynchronous if config["mode"] == "asynchronous" else rounds
    play(grid, model, context)
    note("server", "end")


def rounds(grid: Grid, model: np.ndarray, context: Context) -> None:
    config = context.run_config
    strategy = NotedFedAvg(
        fraction_evaluate=0.0,
        min_train_nodes=1,
        min_available_nodes=1,
    )
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord([model]),
        num_rounds=int(config["rounds"]),
        timeout=float(config["timeout"]) or 3600.0,
    )


def asynchronous(grid: Grid, model: np.ndarray, context: Context) -> None:
    """As many updates as rounds have tasks; a client that has replied gets the next message."""
    clients, rounds = int(context.run_config["clients"]), int(context.run_config["rounds"])
    left, sent = clients * rounds, 0
    waiting: set[str] = set()

    def send(nodes: Iterable[int]) -> None:
        nonlocal sent
        for node in nodes:
            sent += 1
            content = {"arrays": ArrayRecord([model]), "config": ConfigRecord({"lr": 0.1})}
            message = Message(RecordDict(content), node, "train", group_id=str(sent))
            waiting.update(grid.push_messages([message]))

    send(grid.get_node_ids())
    while left:
        for reply in grid.pull_messages(waiting):
            waiting.discard(reply.metadata.reply_to_message_id)
            left -= 1
            note("server", "replies", round=left, good=1, errors=0)
            (found,) = reply.content["arrays"].to_numpy_ndarrays()
            model = model + (found - model) / clients
            if left >= clients:
                send([reply.metadata.src_node_id])
        time.sleep(2)
