"""A small Flower of our own: what the bridge needs of one, so that it is tested without the other.

A server app is called with the grid itself, a client app with a message and a context.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from simfl.fleet.traces import Trace, write_trace
from simfl.interop.flower.play import AppRun
from simfl.interop.flower.protocol import FIRST_NODE, Model
from simfl.interop.flower.run import scenario_of
from simfl.interop.flower.virtual_time.callers import code_of
from simfl.params import Params
from simfl.results.result import Result


@dataclass
class ToyMessage:
    """A message, or a reply if it has a `to`."""

    device: int
    kind: str = "train"
    model: tuple[bytes, ...] | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    ttl: float = 43_200.0
    weight: int = 1000  #: bytes
    name: str = ""
    to: str = ""
    failure: str = ""
    reason: str = ""


@dataclass
class ToyContext:
    """A context."""

    device: int
    config: dict[str, Any]
    state: dict[str, Any] = field(default_factory=dict)


class ToyFlower:
    """A FlowerProtocol, and all else that a run asks of Flower."""

    version = "0.0"
    run_id = 1
    dates: tuple[Any, ...] = ()

    def __init__(self) -> None:
        self.protocol = self

    def stamp(self, message: ToyMessage, name: str) -> None:
        message.name = name

    def node(self, message: ToyMessage) -> int:
        return FIRST_NODE + message.device

    def kind(self, message: ToyMessage) -> str:
        return message.kind

    def ttl_s(self, message: ToyMessage) -> float:
        return message.ttl

    def copy(self, message: ToyMessage) -> ToyMessage:
        return replace(message, metrics=dict(message.metrics))

    def nbytes(self, message: ToyMessage) -> int:
        return message.weight

    def tensor_bytes(self, message: ToyMessage) -> int:
        return sum(map(len, message.model or ()))

    def model(self, message: ToyMessage) -> Model | None:
        return self.model_of(message.model)

    def metrics(self, message: ToyMessage) -> dict[str, float]:
        return message.metrics

    def date(self, reply: ToyMessage, message: ToyMessage) -> None:
        """Messages have no dates."""

    def is_error(self, message: ToyMessage) -> bool:
        return bool(message.failure)

    def error(self, message: ToyMessage, failure: str, reason: str) -> ToyMessage:
        return ToyMessage(
            message.device, message.kind, to=message.name, failure=failure, reason=reason, weight=10
        )

    def context(self, node: int, partition: int, partitions: int, run_config: Any) -> ToyContext:
        return ToyContext(partition, dict(run_config))

    def copy_context(self, context: ToyContext) -> ToyContext:
        return replace(context, state=dict(context.state))

    def model_of(self, arrays: tuple[bytes, ...] | None) -> Model | None:
        return None if arrays is None else Model(tuple(map(str, range(len(arrays)))), arrays)

    def model_from(self, given: Any) -> Model | None:
        return self.model_of(given) if isinstance(given, tuple) else None

    def answered(self, reply: Any) -> str | None:
        return reply.to

    @contextmanager
    def on_the_grid(self, grid: Any, hooks: Any) -> Iterator[Any]:
        with hooks.listening():
            yield grid

    def modules_of(self, server_app: Any) -> list[Any]:
        return [sys.modules[server_app.__module__]]

    def quiet(self, verbose: bool) -> Any:
        return nullcontext()

    def arrays(self, model: Model) -> Any:
        return model

    def params_of(self, model: Model) -> Any:
        import torch

        flat = np.frombuffer(b"".join(model.blobs), np.float32).copy()
        return Params.from_named({"model": torch.from_numpy(flat)})


Client = Callable[[ToyMessage, ToyContext], ToyMessage]


def answer(message: ToyMessage, context: ToyContext) -> ToyMessage:
    """A client app that counts its calls and reports ten examples."""
    context.state["calls"] = context.state.get("calls", 0) + 1
    return ToyMessage(
        message.device,
        message.kind,
        metrics={"num-examples": 10, "calls": context.state["calls"]},
        to=message.name,
        weight=message.weight,
    )


def model(value: float) -> tuple[bytes, ...]:
    """A model of one number."""
    return (np.float32(value).tobytes(),)


def played(
    main: Callable[[Any, Any], None],
    fleet: dict[str, Any] | Path,
    client: Client = answer,
    evaluate: Any = None,
    out: Any = None,
    **overrides: Any,
) -> Result:
    """Plays a server app that is a function."""
    whole, toy = scenario_of(fleet, overrides=overrides), ToyFlower()
    code, apps = code_of(toy.modules_of(main)), nullcontext((main, client))
    return AppRun(whole, apps, code, toy, evaluate, False)(out, None, None)


def scene(*groups: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A scenario with groups of devices that train for a second, and send one each way."""
    return {
        "fleet": {"group": [{**ONE_SECOND_EACH, **group} for group in groups]},
        "learning": {
            "dataset": "none",
            "parameters": 1,
            "examples": 10,
            "flops_per_example": 1e8,
            "batch_size": 10,
        },
        **more,
    }


def present(folder: Path, *windows: list[tuple[float, float]]) -> Path:
    """The file of a scene; windows: for each device, from when until when it is there."""
    rows = [(device, *window) for device, mine in enumerate(windows) for window in mine]
    device, starts, ends = np.array(rows).T
    columns = {"device": device.astype(np.int64), "start_s": starts, "end_s": ends}
    (folder / "traces").mkdir()
    trace = Trace("presence", columns, {"devices": len(windows)})
    write_trace(folder / "traces" / "there.parquet", trace)
    presence = {"kind": "trace", "trace": "there"}
    table = scene({"count": len(windows), "presence": presence})
    (folder / "there.toml").write_text(tomli_w.dumps(table), "utf-8")
    return folder / "there.toml"


#: A message of 1000 - 64 bytes takes a second; ten examples at a GFLOP/s take one as well.
ONE_SECOND_EACH = {
    "compute": {"gflops": 1.0},
    "network": {"down_mbps": 0.008, "up_mbps": 0.008, "latency_s": 0.0},
}
SECOND = 1000 - 64  #: the weight of such a message
