"""What the bridge needs of Flower: nothing else in this package knows its types.

`compat.Flower` is the one that imports flwr; the tests have a small one of their own, so that the
bridge is tested where Flower is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from simfl.messages import NOTHING

#: The kinds of messages that carry a model, up to the first dot of their type.
TRAIN, EVALUATE = "train", "evaluate"

#: Node ids are this plus the device's number: Flower keeps small ones for itself.
FIRST_NODE = 1_000_000

#: Why a message has no proper reply, as Flower's error codes tell it.
Failure = str
GONE, RAISED, EXPIRED = "node unavailable", "client app raised", "reply unavailable"


@dataclass(frozen=True, slots=True)
class Model:
    """Arrays that travel, as Flower wrote them down. names and blobs have one order.

    Adding a model to another gives the one that was added: an app replaces its model, and the
    server of a run adds changes to it.
    """

    names: tuple[str, ...]
    blobs: tuple[bytes, ...]

    def __add__(self, other: Any) -> Any:
        return other

    def __radd__(self, other: Any) -> Model:
        return self

    def same(self, other: Any) -> bool:
        """Equal to the last bit; identical blobs are not looked at."""
        if not isinstance(other, Model):
            return False
        return self.names == other.names and self.blobs == other.blobs


#: Before the app has shown a model.
NO_MODEL: Any = NOTHING


class FlowerProtocol(Protocol):
    """One version of Flower. Messages and replies are its own objects."""

    run_id: int  #: of this run, in messages and contexts

    def stamp(self, message: Any, name: str) -> None:
        """The message is called by this name from now on."""

    def node(self, message: Any) -> int:
        """The node that it is for."""

    def kind(self, message: Any) -> str:
        """Its type: "train", "evaluate", "train.mine", "get_parameters", ..."""

    def ttl_s(self, message: Any) -> float:
        """For how long it and its reply are worth something."""

    def copy(self, message: Any) -> Any:
        """What arrives: equal, and whatever is done to it does nothing to the original."""

    def nbytes(self, message: Any) -> int:
        """Length of the message, serialised."""

    def tensor_bytes(self, message: Any) -> int:
        """Bytes of the elements of its arrays alone."""

    def model(self, message: Any) -> Model | None:
        """The arrays in it, None if there are none."""

    def metrics(self, message: Any) -> Mapping[str, float]:
        """The numbers in it, by their name."""

    def date(self, reply: Any, message: Any) -> None:
        """The reply to this message was made now."""

    def is_error(self, message: Any) -> bool:
        """True for a reply that says what went wrong."""

    def error(self, message: Any, failure: Failure, reason: str) -> Any:
        """A reply that says what went wrong."""

    def context(self, node: int, partition: int, partitions: int, run_config: Any) -> Any:
        """An empty context of a node; partition -1: of the server."""

    def copy_context(self, context: Any) -> Any:
        """A context that can be changed without changing this one."""


def family(kind: str) -> str:
    """What a message type asks for: "train.mine" is a kind of "train"."""
    return kind.partition(".")[0]
