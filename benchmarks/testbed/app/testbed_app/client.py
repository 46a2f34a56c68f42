"""A client that uses so many CPU seconds and sends a model of its own back."""

from __future__ import annotations

import time

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from testbed_app.notes import note

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    who = f"client-{context.node_config['partition-id']}"
    group = message.metadata.group_id
    note(who, "begin", round=group, cpu=time.process_time())
    (model,) = message.content["arrays"].to_numpy_ndarrays()
    burn(float(context.run_config["work"]))
    mine = model + np.float32(1 + int(context.node_config["partition-id"]))
    content = {
        "arrays": ArrayRecord([mine]),
        "metrics": MetricRecord({"num-examples": 1}),
    }
    note(who, "end", round=group, cpu=time.process_time())
    return Message(RecordDict(content), reply_to=message)


def burn(cpu_s: float) -> None:
    """Uses so many seconds of a processor, whatever else runs on it."""
    until_s = time.process_time() + cpu_s
    block = np.ones((64, 64), np.float32)
    while time.process_time() < until_s:
        block = block @ block / 64
