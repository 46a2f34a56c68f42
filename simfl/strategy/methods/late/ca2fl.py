"""CA2FL: buffered steps, calibrated by the latest update of every device.

Wang, Cao, Wu, Chen and Chen, "Tackling the data heterogeneity in asynchronous federated learning
with cached update calibration" (CA2FL), ICLR 2024. The server keeps the latest update hᵢ of every
device, zero at first, and their mean h over all N devices:

    v = h + (1/B) Σ (dᵢ - hᵢ),   w ← w + server_lr · v,
    then hᵢ ← dᵢ and h ← h + (1/N) Σ (dᵢ - hᵢ).

A device that is twice in a buffer is calibrated the second time by its own first update. The
server holds up to N models; there is no staleness weight.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from simfl.messages import Update
from simfl.strategy.aggregation import discounted, weighted, whole
from simfl.strategy.base import Change, Server
from simfl.strategy.methods.asynchronous import AsyncState, Buffered


@dataclass(slots=True, kw_only=True)
class Ca2flState(AsyncState):
    """cache: hᵢ by device. mean: h, over the whole fleet."""

    mean: Any
    cache: dict[int, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ca2fl(Buffered):
    """Buffered asynchrony, calibrated by the last update of every device."""

    reference: ClassVar[str] = "Wang et al., ICLR 2024"

    def init(self, params: Any) -> Ca2flState:
        return Ca2flState(**self.parts(params), mean=params * 0.0)

    def fold(self, state: Ca2flState, server: Server, updates: list[Update]) -> Change:
        news = [self._news(state.cache, update) for update in updates]
        change = discounted(news, lambda u: 1.0)
        v = state.mean + change.delta
        shift = weighted(news, [1.0 / server.devices] * len(news))
        state.mean = state.mean + shift.delta
        return change.with_delta(v)

    def _news(self, cache: dict[int, Any], update: Update) -> Update:
        """The update less what was known of its device; it becomes what is known."""
        delta, known = whole(update.delta, update.base), cache.get(update.device)
        cache[update.device] = delta
        return replace(update, delta=delta if known is None else delta - known)
