"""Asynchronous averaging: every reply moves the model, by less the older its start was.

The devices pull the model towards a point of their own; the mean of these points is the optimum.
"""

import random
import time

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

client, server = ClientApp(), ServerApp()


@client.train()
def train(message, context):
    own = np.random.default_rng(context.node_config["partition-id"]).standard_normal(8)
    (model,) = message.content["arrays"].to_numpy_ndarrays()
    moved = model + 0.5 * (own - model)
    content = {"arrays": ArrayRecord([moved]), "metrics": MetricRecord({"num-examples": 1})}
    return Message(RecordDict(content), reply_to=message)


@server.main()
def main(grid, context):
    config = context.run_config
    model, version, done = np.zeros(8), 0, 0
    sent = {}  # message id -> version that it carries

    def send(nodes):
        content = RecordDict(
            {"arrays": ArrayRecord([model]), "config": ConfigRecord({"version": version})}
        )
        messages = [Message(content, node, MessageType.TRAIN) for node in nodes]
        sent.update(dict.fromkeys(grid.push_messages(messages), version))

    send(random.sample(list(grid.get_node_ids()), config["concurrency"]))
    while done < config["updates"]:
        time.sleep(config["poll-seconds"])
        replies = list(grid.pull_messages(list(sent)))
        for reply in replies:
            age = version - sent.pop(reply.metadata.reply_to_message_id)
            if not reply.has_error():
                (theirs,) = reply.content["arrays"].to_numpy_ndarrays()
                model = model + (theirs - model) / (5.0 + age)
                done += 1
        if replies:
            version += 1
            send(random.sample(list(grid.get_node_ids()), len(replies)))
