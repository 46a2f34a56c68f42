"""What the server does: FedAvg as Flower ships it."""

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from task import TEST, X, Y, evaluate, initial

app = ServerApp()


def on_the_test_set(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    loss, accuracy = evaluate(arrays.to_numpy_ndarrays(), X[TEST], Y[TEST])
    return MetricRecord({"loss": loss, "accuracy": accuracy})


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    strategy = FedAvg(
        fraction_train=config["fraction-train"], fraction_evaluate=config["fraction-evaluate"]
    )
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(initial()),
        num_rounds=config["num-server-rounds"],
        timeout=config["timeout"],
        evaluate_fn=on_the_test_set,
    )
