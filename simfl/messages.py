"""Task and Update: what goes out and what comes back.

A Task is opened by `server.dispatch` and lives until it is delivered, lost or cancelled; the
kernel fills it in as it travels. An Update is what a delivered task hands to the strategy.
Neither knows torch: parameters are opaque here, anything with `+`, `-` and `*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, nan
from typing import Any, Protocol

#: Phases of a task, in order; `phase` columns and waste tables use these words.
PHASES = ("download", "train", "upload")

#: Bytes that every message has beside its payload: magic, kind, device, task, version, counts,
#: scalars, lengths and a checksum.
FRAME_BYTES = 64


@dataclass(eq=False, init=False)
class Task:
    """One dispatched piece of local work, as the kernel sees it. Times are virtual seconds."""

    serial: int  #: unique and increasing over the run; column `task`
    device: int
    index: int  #: how many tasks this device was given before; addresses its random draws
    version: int  #: server version when dispatched
    base: Any  #: server parameters at that version
    dispatched_s: float
    epochs: float | None  #: as asked; from `start` on, passes really made
    steps: int | None  #: as asked; if set, epochs was not
    extras: Mapping[str, Any]  #: sent down beside the model, charged
    phase_s: list[float]  #: spent so far
    moved_bytes: list[int]  #: down, up, charged so far
    # Filled in by the workload at dispatch.
    examples: int = 0  #: size of the device's data set, n_i
    asked_steps: int = 0  #: mini-batch steps that the work was planned to take
    local_steps: int = 0  #: mini-batch steps that the work takes
    flops: float = 0.0
    stated_s: float | None = None  #: seconds of training where they do not follow from the work
    down_bytes: int = 0
    up_bytes: int = -1  #: -1 while the size is not known before training
    # Filled in by the clock on the way.
    phase: int = 0  #: index into PHASES
    ended_s: float = -1.0
    doomed: bool = False  #: known to end without an update: need not be trained ahead of time
    outcome: str = "in_flight"
    cause: str = ""
    message: Any = None  #: the exchange's, from dispatch to the task's end
    plan: Any = None  #: the clock's: what chance decided, and how far the task is
    transfer: Any = None  #: the clock's: its message on a shared link

    def __init__(
        self,
        serial: int,
        device: int,
        index: int,
        version: int,
        base: Any,
        dispatched_s: float,
        epochs: float | None = None,
        steps: int | None = None,
        extras: Mapping[str, Any] | None = None,
    ) -> None:
        # Written out, and the rest left to the class: a dataclass takes twice as long at it.
        self.serial = serial
        self.device = device
        self.index = index
        self.version = version
        self.base = base
        self.dispatched_s = dispatched_s
        self.epochs = epochs
        self.steps = steps
        self.extras = {} if extras is None else extras
        self.phase_s = [0.0, 0.0, 0.0]
        self.moved_bytes = [0, 0]


def whole_batches(n: int, batch_size: int, drop_last: bool) -> int:
    """Examples of n that a pass goes through.

    drop_last: only full batches, if there is one.

    >>> whole_batches(26, 25, drop_last=True), whole_batches(7, 25, drop_last=True)
    (25, 7)
    """
    return n - n % batch_size if drop_last and n > batch_size else n


@lru_cache(maxsize=4096)
def local_steps(n: int, batch_size: int, epochs: float | None, steps: int | None) -> int:
    """Mini-batch steps of a task with n examples to a pass; its last, partial batch counts.

    Exactly one of epochs and steps is given; a fraction of an epoch is rounded up to whole steps.

    >>> local_steps(25, 10, epochs=2.0, steps=None), local_steps(25, 10, epochs=0.5, steps=None)
    (6, 2)
    """
    if steps is not None:
        return steps
    per_epoch = -(-n // batch_size)
    return max(1, ceil((1.0 if epochs is None else epochs) * per_epoch - 1e-9))


@lru_cache(maxsize=4096)
def examples_seen(n: int, batch_size: int, steps: int) -> int:
    """Examples that so many mini-batch steps pass over, reshuffling after each epoch.

    >>> examples_seen(25, 10, steps=3), examples_seen(25, 10, steps=4)
    (25, 35)
    """
    full, rest = divmod(steps, -(-n // batch_size))
    return full * n + min(rest * batch_size, n)


@lru_cache(maxsize=4096)
def work_of(
    n: int, batch_size: int, epochs: float | None, steps: int | None, drop_last: bool
) -> tuple[int, int, float]:
    """(steps, examples passed over, epochs) of a task on n examples, as it was asked for.

    Most tasks of a run ask for what one before them did, so all three are remembered together.

    >>> work_of(25, 10, epochs=2.0, steps=None, drop_last=False)
    (6, 50, 2.0)
    """
    used = whole_batches(n, batch_size, drop_last)
    made = local_steps(used, batch_size, epochs, steps)
    seen = examples_seen(used, batch_size, made)
    return made, seen, seen / used


class Counter(Protocol):
    """Whatever knows the current version."""

    version: int


@dataclass(slots=True, eq=False)
class Update:
    """What a finished task delivers. `delta` is added to the server's model, not subtracted."""

    task: int
    device: int
    version: int  #: version of the base; fixed when the task was dispatched
    base: Any  #: server parameters at that version
    delta: Any  #: local model minus the one that the device started from (`Codec.absolute`: base)
    extras: Mapping[str, Any]  #: what `LocalRule.report` sent beside the delta
    examples: int  #: n_i
    steps: int  #: local mini-batch steps done
    epochs: float  #: passes over the local data done
    loss: float  #: mean training loss per example over the task (nan without learning)
    loss_rms: float  #: root mean square of the per-example training losses (nan without learning)
    dispatched_s: float
    arrived_s: float
    server: Counter
    lr: float = nan  #: local learning rate of the task (nan without learning)

    @property
    def staleness(self) -> int:
        """Versions applied since the task was dispatched, as of now."""
        return self.server.version - self.version


class Nothing:
    """What stands for tensors where nothing is learnt: every operation gives itself back.

    whole: True for `NOTHING`, a model's parameters; False for their trained elements as one tensor.
    A message is charged accordingly.
    """

    layout = None  #: nothing has no parts
    __snapshot__ = ("whole",)  #: what a checkpoint keeps of it

    def __init__(self, whole: bool = True) -> None:
        self.whole = whole

    @property
    def trained(self) -> Nothing:
        return _NOTHING_TRAINED

    def __add__(self, other: Any) -> Nothing:
        return self

    __sub__ = __mul__ = __rmul__ = __radd__ = __add__

    def __repr__(self) -> str:
        return "NOTHING" if self.whole else "NOTHING.trained"


NOTHING = Nothing()
_NOTHING_TRAINED = Nothing(whole=False)
