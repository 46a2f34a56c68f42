"""Synchronous rounds, and rounds that ask too many and stop early.

McMahan et al., "Communication-efficient learning of deep networks from decentralized data",
AISTATS 2017, arXiv 1602.05629:

    w ← w + server_lr · Σ pᵢdᵢ,   pᵢ = nᵢ / Σ nⱼ over the devices that reported.

The paper sums over the sampled devices in its algorithm and over all devices in its analysis:
here over those that reported. FedSGD is `batch_size` at least the size of a device's data.

Bonawitz et al., "Towards federated learning at scale: system design", MLSys 2019, arXiv
1902.01046: ask f·G devices, fold the first G reports or those that come before the deadline, and
abandon the round if too few do. There the devices call in and selection has a time window of its
own; here the server draws among those present.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any, ClassVar, Literal

from simfl.messages import Update
from simfl.strategy.aggregation import Weights, mean
from simfl.strategy.base import Change, Server, Wait
from simfl.strategy.common import Choosing, State
from simfl.units import Count, Duration, Fraction, Positive


@dataclass(frozen=True, kw_only=True)
class FedAvg(Choosing):
    """Synchronous rounds: wait for the whole cohort, then average."""

    reference: ClassVar[str] = "McMahan et al., AISTATS 2017, arXiv 1602.05629"

    cohort: Count = 10
    weights: Weights = "examples"

    def step(self, state: State, server: Server, updates: list[Update]) -> Wait:
        self.observe(state, server, updates)
        if updates:
            server.apply(self.stepped(state, updates, self.fold(state, server, updates)))
        self.ask(state, server, self.choose(state, server, self.cohort))
        return Wait()

    def fold(self, state: State, server: Server, updates: list[Update]) -> Change:
        return mean(updates, self.weights)


@dataclass(slots=True, kw_only=True)
class OverSelectState(State):
    """A round of over-selection.

    asked: device by serial, of this round's open tasks.
    end_s: the round's deadline.
    """

    asked: dict[int, int] = field(default_factory=dict)
    reported: list[Update] = field(default_factory=list)
    end_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class OverSelect(FedAvg):
    """Ask more than needed, fold the first reports, cut the rest.

    A round ends with the `cohort`-th report, at the deadline, or when no task is left in flight;
    with fewer than `min_fraction` of the cohort it is abandoned and its work is waste.
    on_surplus: "cancel" stops the devices that are still at work; "ignore" lets them finish (and
    stay busy) and throws their reports away. `over_select = 1` without a deadline is FedAvg.
    """

    reference: ClassVar[str] = "Bonawitz et al., MLSys 2019, arXiv 1902.01046"

    over_select: Positive = 1.3
    deadline_s: Duration | None = None
    min_fraction: Fraction = 0.8
    on_surplus: Literal["cancel", "ignore"] = "cancel"

    def init(self, params: Any) -> OverSelectState:
        return OverSelectState(**self.parts(params))

    def step(self, state: OverSelectState, server: Server, updates: list[Update]) -> Wait:
        self.observe(state, server, updates)
        asked, reported = state.asked, state.reported
        for task in server.lost:
            asked.pop(task.serial, None)
        self._sort_in(state, server, updates)
        late = server.now_s >= state.end_s
        if len(reported) == self.cohort or late or not asked:
            self._close(state, server, cause="late" if late else "surplus")
            self._open(state, server)
        return self._wait(state, server)

    def _sort_in(self, state: OverSelectState, server: Server, updates: list[Update]) -> None:
        """Keeps this round's first reports; what is over the goal or too late is thrown away."""
        for update in updates:
            current = state.asked.pop(update.task, None) is not None
            if current and len(state.reported) < self.cohort:
                state.reported.append(update)
            else:
                server.discard([update], "surplus" if current else "late")

    def _close(self, state: OverSelectState, server: Server, cause: str) -> None:
        reported, asked = state.reported, state.asked
        if asked and self.on_surplus == "cancel":
            server.cancel(cause=cause)
        if reported and len(reported) >= ceil(self.min_fraction * self.cohort):
            change = self.fold(state, server, reported)
            server.apply(self.stepped(state, reported, change))
        else:
            server.discard(reported, "abandoned round")
        state.reported, state.asked = [], {}

    def _open(self, state: OverSelectState, server: Server) -> None:
        devices = self.choose(state, server, ceil(self.over_select * self.cohort))
        serials = self.ask(state, server, devices)
        state.asked = dict(zip(serials, devices, strict=True))
        state.end_s = inf if self.deadline_s is None else server.now_s + self.deadline_s

    def _wait(self, state: OverSelectState, server: Server) -> Wait:
        end_s = state.end_s
        within = None if end_s == inf else end_s - server.now_s
        return Wait(self.cohort - len(state.reported), within, losses=1)
