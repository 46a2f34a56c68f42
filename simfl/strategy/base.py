"""The three things a plug-in author meets: Strategy, LocalRule, and the Server they talk to.

A strategy decides who is asked, when, and how answers fold into the model. It is a frozen
dataclass of options; its running state is a separate object made by `init`. The kernel calls
`step` at the start and whenever the last `Wait` is met, and fills in versions, staleness,
bytes, times, streams and memories.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from simfl.errors import PluginError
from simfl.messages import Task, Update

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from simfl.strategy.special_rules import PersonalContext

Context = dict[str, "Tensor"]


class Wait(NamedTuple):
    """When the strategy wants to be asked again: at the first that comes true.

    arrivals: so many updates have come since this step.
    within: so many virtual seconds have passed.
    losses: so many tasks have ended without an update. In every case also when nothing is in flight
        any more, so that losses cannot hang a run; `Wait()` waits for just that.
    """

    arrivals: int | None = None
    within: float | None = None
    losses: int | None = None


def checked_wait(wait: object, where: Callable[[], str]) -> Wait:
    """What a step has returned. Raises PluginError for what nothing can meet.

    where: gives the step in words.
    """
    if not isinstance(wait, Wait):
        raise PluginError(f"{where()}: must return a Wait, not {wait!r}")
    arrivals, within, losses = wait
    if not ((arrivals or 0) >= 0 and (within or 0.0) >= 0.0 and (losses or 0) >= 0):
        expected = "expected counts and seconds of 0 or more"
        raise PluginError(f"{where()}: cannot wait for {wait!r}, {expected}")
    return wait


@dataclass(slots=True, eq=False)
class Change:
    """What `server.apply` adds to the model, and how much of it each update contributed.

    weights: effective weight by task serial; the ledger records it.
    shares: how much each of the updates counts for what is not trained (running statistics), where
        that is not its weight; see `fold.applied`.
    """

    delta: Any
    weights: Mapping[int, float] = field(default_factory=dict)
    shares: Mapping[int, float] | None = None

    def __mul__(self, factor: float) -> Change:
        shares = None if self.shares is None else _times(self.shares, factor)
        return Change(self.delta * factor, _times(self.weights, factor), shares)

    __rmul__ = __mul__

    def with_delta(self, delta: Any) -> Change:
        """Another delta with the same contributions: what a server optimiser returns."""
        return self if delta is self.delta else Change(delta, self.weights, self.shares)


def _times(weights: Mapping[int, float], factor: float) -> dict[int, float]:
    return {task: weight * factor for task, weight in weights.items()}


@dataclass(frozen=True)
class Work:
    """What a local rule may know of its task.

    lr: local learning rate.
    """

    examples: int  #: n_i
    mean_examples: float  #: mean of n_i over the fleet
    epochs: float
    steps: int  #: mini-batch steps
    batch_size: int
    lr: float
    momentum: float = 0.0
    trainable: int = 0  #: T
    #: gradient of the mean loss over all local data at a point: (P,) -> (T,)
    gradient: Callable[[Tensor], Tensor] | None = None
    personal: PersonalContext | None = None  #: the device, for a `PersonalRule`


@dataclass(frozen=True)
class Report:
    """What a device sends back and what it keeps.

    delta: (P,) tensor, or for a partial upload a `Params` with fewer names, or a `Part`. extras
    travel beside it and are charged. memory is kept by the device once the upload was delivered.
    """

    delta: Any
    extras: Mapping[str, Any] = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)


class LocalRule:
    """How a device learns: what is added to plain SGD. Every hook is the identity by default.

    `prepare` and `report` see one task. `penalty` and `correct` see tensors of shape (..., T):
    one task, or K of them stacked, so they must be elementwise or reduce over the last
    dimension only. T counts the trainable elements, which lead the P elements of the model.
    Every tensor of the context has a last dimension of T or 1. `context["base"]` is always
    there: the trainable part of the model that the device received.

    Rules that need more hooks inherit from one of `simfl.strategy.special_rules`.
    """

    def prepare(
        self, base: Tensor, extras: Mapping[str, Any], memory: Mapping[str, Any], work: Work
    ) -> tuple[Tensor, Context]:
        """The (P,) model that training starts from, and constants for the other hooks.

        base: (P,) the model that the device received.
        extras: came down beside it.
        memory: kept by the device since its last upload.
        """
        return base, {}

    def penalty(self, y: Tensor, context: Context) -> Tensor:
        """Added to the loss: (..., T) -> (...). Differentiated by autograd."""
        return y.new_zeros(y.shape[:-1])

    def correct(self, grad: Tensor, y: Tensor, context: Context) -> Tensor:
        """The gradient that SGD follows: (..., T) -> (..., T)."""
        return grad

    def report(self, end: Tensor, base: Tensor, context: Context, work: Work) -> Report:
        """What is sent back: by default the difference to the model received, both (P,)."""
        return Report(end - base)

    def sends(self, params: Any) -> Mapping[str, Any] | None:
        """Extras as large as those that `report` will send beside a whole delta.

        None if the size depends on the training: the upload is then planned when that is done.
        """
        return None if overrides(self, "report") else {}

    def passes(self) -> float:
        """Passes over all local data that a task makes beside its steps: charged as time."""
        return 0.0


def overrides(rule: LocalRule, hook: str) -> bool:
    """Whether the rule has a hook of its own; one that it inherits is the identity."""
    return getattr(type(rule), hook) is not getattr(LocalRule, hook)


@dataclass(frozen=True, eq=False)
class LearningInfo:
    """Facts of local training, for strategies that train on the server themselves.

    flops: of training on one example.
    model: torch module in evaluation mode, which lends its structure and is never altered; None
        where nothing is learnt.
    bounds: least and largest input value; None where inputs are tokens.
    training: options of local SGD, and `rate(version)`.
    """

    flops: float
    batch_size: int
    model: Any = None
    shape: tuple[int, ...] = ()  #: of one input
    classes: int = 0
    bounds: tuple[float, float] | None = None
    training: Any = None


class Server(Protocol):
    """The server as a strategy sees it. Times are virtual seconds."""

    version: int  #: +1 at each `apply`
    params: Any  #: the current model; treat as immutable
    devices: int  #: size of the fleet
    examples: np.ndarray  #: (devices,) int64, examples each device holds
    fleet: Any  #: columns of the fleet, read-only
    learning: LearningInfo | None  #: facts of local training; None where the server has none
    flops_per_s: float  #: its own speed

    @property
    def now_s(self) -> float:
        """The virtual time."""

    @property
    def in_flight(self) -> int:
        """Tasks that are under way."""

    @property
    def lost(self) -> Sequence[Task]:
        """Tasks that ended without an update since the last step."""

    def sample(self, n: int, among: Sequence[int] | None = None) -> list[int]:
        """Up to n distinct devices, uniform among those that are idle and present now.

        among: draw from these distinct devices only; the cost is then that of looking at each.
        """

    def candidates(self) -> np.ndarray:
        """All devices that are idle and present now, ascending. Costs a scan of the fleet."""

    def dispatch(
        self,
        devices: Iterable[int],
        *,
        epochs: float | Sequence[float] | None = None,
        steps: int | Sequence[int] | None = None,
        extras: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """Sends the current model to devices; returns the serials of the new tasks."""

    def apply(self, change: Change) -> None:
        """Adds a change to the model and makes the next version."""

    def discard(self, updates: Iterable[Update], cause: str) -> None:
        """Says that these updates will not be used, and why; they count as waste."""

    def cancel(self, devices: Iterable[int] | None = None, cause: str = "cancelled") -> None:
        """Ends the tasks of these devices (default: all in flight) at once."""

    def request_partial(self, devices: Iterable[int]) -> None:
        """Tells these devices to stop training with the mini-batch at hand and send what they have.

        A device that is still downloading trains for one step; one that is uploading, or idle, is
        left alone. Updates say in `steps` and `epochs` what was really done.
        """

    def charge(self, flops: float = 0.0, seconds: float = 0.0) -> None:
        """Server work: what this step dispatches leaves only when it is done."""

    def generator(self, purpose: str) -> np.random.Generator:
        """A random generator for this step of the strategy and this purpose."""


class Strategy(Protocol):
    """Options of a strategy. `local` says how devices learn.

    A strategy that has other models to show than the server's may have a method
    `metrics(state, server, score)`, score being Params -> metrics by name, which returns the
    columns of an evaluation: `loss`, `accuracy`, and what else it likes. Values that are tables
    themselves (`by_device`) are passed on as they are.

    One that does not suit every kind of local training may have a method `check_learning(learning)`
    that raises ScenarioError before the run; learning: the options of the section [learning].
    """

    local: LocalRule = LocalRule()

    @abstractmethod
    def init(self, params: Any) -> Any:
        """The running state at the start."""

    @abstractmethod
    def step(self, state: Any, server: Server, updates: list[Update]) -> Wait:
        """One decision. `updates`: what arrived since the last step, in order of arrival."""
