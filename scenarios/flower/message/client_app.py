"""What a device does."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from task import evaluate, local_data, train

app = ClientApp()


def mine(context):
    return local_data(context.node_config["partition-id"], context.node_config["num-partitions"])


@app.train()
def train_here(message: Message, context: Context) -> Message:
    x, y = mine(context)
    config = context.run_config
    model = message.content["arrays"].to_numpy_ndarrays()
    model = train(model, x, y, config["local-epochs"], config["learning-rate"])
    loss, _ = evaluate(model, x, y)
    metrics = MetricRecord({"num-examples": len(x), "train_loss": loss})
    return Message(RecordDict({"arrays": ArrayRecord(model), "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate_here(message: Message, context: Context) -> Message:
    x, y = mine(context)
    loss, accuracy = evaluate(message.content["arrays"].to_numpy_ndarrays(), x, y)
    metrics = {"num-examples": len(x), "eval_loss": loss, "eval_acc": accuracy}
    return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)
