"""What the bridge costs: milliseconds a message beyond what Flower and the app do themselves.

    python benchmarks/flower.py [--rounds 20] [--devices 100] [--pairs 5]

One app is played twice: on the virtual clock, and on a grid that answers at once, in a loop that
calls the client app and nothing else. Both serialise nothing that the app does not; the difference
is the bridge, its event engine, its copies, its bytes and its tables. Arrays of three sizes; the
median of pairs of plays that alternate, with the smallest and the largest difference.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

import simfl
from simfl.interop.flower.bridge.compat import Run, TaskIdentity
from simfl.interop.flower.bridge.patches import LOGGER, FlowerGrid

RUN_ID = 1


def apps(elements: int, rounds: int) -> tuple[ServerApp, ClientApp]:
    """FedAvg whose devices send their model back as it came."""
    client, server = ClientApp(), ServerApp()

    @client.train()
    def train(message: Message, context: Context) -> Message:
        arrays = ArrayRecord(message.content["arrays"].to_numpy_ndarrays())
        metrics = MetricRecord({"num-examples": 1})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    @server.main()
    def main(grid: Any, context: Context) -> None:
        start = ArrayRecord([np.zeros(elements, np.float32)])
        strategy = FedAvg(fraction_evaluate=0.0)
        strategy.start(grid=grid, initial_arrays=start, num_rounds=rounds)

    return server, client


class AtOnce(FlowerGrid):
    """A grid without time: every message is answered when it is sent."""

    def __init__(self, client: ClientApp, devices: int) -> None:
        self.client = client
        self.contexts = {i: Context(RUN_ID, i, {}, RecordDict(), {}) for i in range(1, devices + 1)}
        super().__init__(None, Run.create_empty(RUN_ID))  # type: ignore[arg-type]

    def get_node_ids(self) -> list[int]:
        return list(self.contexts)

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Any]:
        return [self.client(one, self.contexts[one.metadata.dst_node_id]) for one in messages]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--devices", type=int, default=100)
    options.add_argument("--pairs", type=int, default=5)
    chosen = options.parse_args()
    fleet = {
        "fleet": {"group": [{"device": "phone-mid", "network": "lte", "count": chosen.devices}]},
        "learning": {
            "dataset": "none", "parameters": 1, "examples": 100, "flops_per_example": 1e6,
        },
    }  # fmt: skip
    messages = chosen.rounds * chosen.devices
    LOGGER.disabled = True
    if TaskIdentity is not None:
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = RUN_ID, 1, 1
    simfl.flower.run(*apps(1, 1), fleet)  # imports are no part of a message
    print(f"{messages} messages, {chosen.devices} devices")
    for elements in (1, 1_000, 250_000):
        server, client = apps(elements, chosen.rounds)
        pairs = [
            (
                timed(lambda s=server, c=client: s(AtOnce(c, chosen.devices), empty())),
                timed(lambda s=server, c=client: simfl.flower.run(s, c, fleet)),
            )
            for _ in range(chosen.pairs)
        ]
        own_ms = 1e3 * median(alone_s for alone_s, _ in pairs) / messages
        each_ms = sorted(1e3 * (clock_s - alone_s) / messages for alone_s, clock_s in pairs)
        print(
            f"{4 * elements:>9,} B arrays: app {own_ms:.3f} ms, bridge {median(each_ms):.3f} ms "
            f"({each_ms[0]:.3f} to {each_ms[-1]:.3f}) a message"
        )


def empty() -> Context:
    return Context(RUN_ID, 1, {}, RecordDict(), {})


def timed(call: Any) -> float:
    """CPU seconds of a call."""
    begun_s = time.process_time()
    call()
    return time.process_time() - begun_s


if __name__ == "__main__":
    main()
