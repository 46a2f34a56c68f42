"""What every strategy that folds has in common: the work it asks for, and the parts it carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simfl.errors import ScenarioError
from simfl.messages import Update
from simfl.strategy.aggregation import scaled
from simfl.strategy.base import Change, LocalRule, Server
from simfl.strategy.optimiser import ServerOptimiser
from simfl.strategy.selection import Selection
from simfl.units import Count, Positive


@dataclass(slots=True, kw_only=True)
class State:
    """The running state of a strategy: the memories of its parts. A strategy adds its own fields.

    A state class stands at the top of its module, where a checkpoint finds it again.
    """

    optimiser: Any  #: moments of the server optimiser
    selection: Any = None  #: what the selection remembers of the devices


#: Options of strategies that say how many devices work at once.
AT_ONCE = ("cohort", "concurrency")


def counted_in(means: dict[int, tuple[int, float]], device: int, value: float) -> None:
    """One more value of the device: means has how many there were, and their mean, by device.

    >>> means = {3: (1, 2.0)}
    >>> counted_in(means, 3, 4.0)
    >>> means
    {3: (2, 3.0)}
    """
    count, mean = means.get(device, (0, 0.0))
    means[device] = count + 1, mean + (value - mean) / (count + 1)


def ended(server: Server, updates: Sequence[Update]) -> list[int]:
    """Serials of the tasks that ended since the last step, one way or another."""
    return [update.task for update in updates] + [task.serial for task in server.lost]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options and small verbs of whatever folds. Not a strategy by itself.

    epochs, steps: local work of a task; `steps`, if given, stands and `epochs` is left alone.
    """

    epochs: Positive = 1.0
    steps: Count | None = None
    server_lr: Positive = 1.0
    server_optimiser: ServerOptimiser = ServerOptimiser()
    local: LocalRule = LocalRule()

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs not in (None, 1.0, type(self).epochs):
            raise ScenarioError(
                f"epochs = {self.epochs} and steps = {self.steps} contradict each other: give one"
            )

    @property
    def work(self) -> dict[str, Any]:
        """`epochs` or `steps`, as `server.dispatch` takes them."""
        return {"epochs": self.epochs} if self.steps is None else {"steps": self.steps}

    def init(self, params: Any) -> State:
        """The running state at the start; strategies that have one of their own return that."""
        return State(**self.parts(params))

    def parts(self, params: Any) -> dict[str, Any]:
        """The fields of `State` at the start."""
        return {"optimiser": self.server_optimiser.init(params)}

    def ask(self, state: State, server: Server, devices: list[int]) -> list[int]:
        """Sends work to these devices; returns the serials of their tasks."""
        epochs = self.epochs if self.steps is None else None
        extras = self.extras(state)
        return server.dispatch(devices, epochs=epochs, steps=self.steps, extras=extras)

    def extras(self, state: State) -> Mapping[str, Any] | None:
        """What travels down beside the model."""
        return None

    def fold(self, state: State, server: Server, updates: list[Update]) -> Change:
        """Updates as one change, before the server optimiser."""
        raise NotImplementedError

    def rate(self, updates: Sequence[Update]) -> float:
        """The server's rate for a step on these updates."""
        return self.server_lr

    def stepped(self, state: State, updates: Sequence[Update], change: Change) -> Change:
        """What is applied: the fold of updates, through the server optimiser, times the rate."""
        lr, optimiser = self.rate(updates), self.server_optimiser
        if type(optimiser) is not ServerOptimiser:  # else the fold is the step
            state.optimiser, delta = optimiser.step(state.optimiser, change.delta)
            change = change.with_delta(delta)
        return change if lr == 1.0 else scaled(change, lr)


@dataclass(frozen=True, kw_only=True)
class Choosing(Options):
    """Adds the part that says whom to ask."""

    selection: Selection = Selection()

    def parts(self, params: Any) -> dict[str, Any]:
        return {**super().parts(params), "selection": self.selection.init()}

    def observe(self, state: State, server: Server, updates: Sequence[Update]) -> None:
        """The selection has seen what came back, if it remembers anything."""
        if state.selection is not None:
            self.selection.observe(state.selection, server, updates)

    def choose(self, state: State, server: Server, n: int) -> list[int]:
        """Up to n devices for the next tasks."""
        if n <= 0:
            return []
        if type(self.selection) is Selection:  # asked for each task, so not by way of it
            return server.sample(n)
        return self.selection.choose(state.selection, server, n)
