"""A NumPyClient that fits a line through points of its own, and counts its rounds."""

import numpy as np
from flwr.app import ConfigRecord
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp


def points(partition):
    """Fifty points about y = 2 x - 1."""
    rng = np.random.default_rng(partition)
    x = rng.standard_normal((50, 1))
    return x, 2.0 * x[:, 0] - 1.0 + 0.1 * rng.standard_normal(50)


class Line(NumPyClient):
    def __init__(self, context):
        self.state, self.lr = context.state, context.run_config["learning-rate"]
        self.x, self.y = points(context.node_config["partition-id"])

    def fit(self, parameters, config):
        slope, offset = parameters
        for _ in range(5):
            error = self.x @ slope + offset - self.y
            slope = slope - self.lr * self.x.T @ error / len(self.x)
            offset = offset - self.lr * error.mean(keepdims=True)
        rounds = 1 + (self.state["rounds"]["done"] if "rounds" in self.state else 0)
        self.state["rounds"] = ConfigRecord({"done": rounds})
        return [slope, offset], len(self.x), {"rounds": rounds}

    def evaluate(self, parameters, config):
        error = self.x @ parameters[0] + parameters[1] - self.y
        return float((error**2).mean()), len(self.x), {}


app = ClientApp(client_fn=lambda context: Line(context).to_client())
