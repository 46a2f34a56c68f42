"""What a scenario says about a Flower app, in the place of a strategy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from simfl.errors import InputError, ScenarioError
from simfl.interop.flower.deployment.options import Deployment
from simfl.messages import Update
from simfl.scenario.parts import DEPLOYMENT
from simfl.strategy.base import LocalRule, Server, Wait
from simfl.units import Count, NonNegative, Positive, Seconds

#: What a Flower app may be configured with.
Value = bool | int | float | str


@dataclass(frozen=True, kw_only=True)
class App:
    """A Flower app decides; this says what its messages cost.

    Time: a `train` message passes `epochs` times over a device's examples, or makes `steps`
    mini-batch steps, at the FLOPs per example and the batch size of the scenario's [learning];
    `train_gflop` states its work as a whole instead. An `evaluate` message costs `evaluate_share`
    of one training pass (the forward pass is a third). Others cost none.
    examples: a device's number of examples is the scenario's, or what its replies report as
        `num-examples`.
    measured_gflops: not reproducible; the work of a message is the time that this machine took for
        it, at this rate in GFLOP/s.

    charge: bytes of the whole serialised message, or of the elements of its arrays alone, as
        simfl's own dense messages are charged.
    notice_s: from a device's loss to the moment when the server hears of it.
    folder, run_config: the app, and its configuration.

    deployment: what a real deployment's own loops and processes add; see
        `simfl.interop.flower.deployment`. None: nothing.
    accuracy: the unit of the accuracies that the app reports. "auto": fractions, until one above 1
        shows that they are percentages.
    packages: of installed packages that belong to the app; their clock is virtual, as that of the
        app's own modules.
    """

    ends: ClassVar[bool] = True  #: by itself: no [stop] is needed
    unfit_for_edges: ClassVar[str] = "an app of Flower talks to all devices itself"

    epochs: Positive = 1.0
    steps: Count | None = None
    train_gflop: NonNegative | None = None
    evaluate_share: NonNegative = 1.0 / 3.0
    examples: Literal["scenario", "reported"] = "scenario"
    measured_gflops: Positive | None = None
    charge: Literal["message", "arrays"] = "message"
    notice_s: Seconds = 0.0
    accuracy: Literal["auto", "fraction", "percent"] = "auto"
    deployment: Annotated[Deployment | None, DEPLOYMENT] = None
    packages: tuple[str, ...] = ()
    folder: str = ""
    run_config: Mapping[str, Value] = field(default_factory=dict)
    local: LocalRule = LocalRule()

    def __post_init__(self) -> None:
        given = [self.train_gflop is not None, self.measured_gflops is not None]
        if sum(given) > 1 or (any(given) and (self.steps is not None or self.epochs != 1.0)):
            raise ScenarioError(
                "the work of a train message was stated twice: give one of `epochs`, `steps`, "
                "`train_gflop` and `measured_gflops`"
            )
        if self.steps is not None and self.epochs != 1.0:
            raise ScenarioError("epochs and steps contradict each other: give one")

    def files(self) -> list[Path]:
        """The code of the app's folder, which is part of what a run depends on."""
        root = Path(self.folder) if self.folder else None
        return [] if root is None else sorted([*root.rglob("*.py"), *root.glob("pyproject.toml")])

    def init(self, params: Any) -> Any:
        raise InputError(
            "this scenario belongs to a Flower app, which decides what is sent: play it with "
            f"`simfl flower {self.folder or 'APP_DIR'} --fleet SCENARIO.toml`"
        )

    def step(self, state: Any, server: Server, updates: list[Update]) -> Wait:
        """Never reached: `init` refuses."""
        return Wait()
