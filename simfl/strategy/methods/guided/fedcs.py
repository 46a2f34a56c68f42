"""FedCS: asks only devices that are expected to finish before the deadline.

Nishio and Yonetani, "Client selection for federated learning with heterogeneous resources in mobile
edge" (FedCS), ICC 2019, arXiv 1804.08333. A random share of the devices is polled; of these the
server takes one after the other, each time the one that makes the round least longer, as long as
the round stays within its deadline:

    T(S) = max tᵢ over S;   S ← S + argmin T(S + i) - T(S) while T(S + i) <= deadline

with tᵢ the seconds from dispatch to arrival, so that all polled devices with tᵢ <= deadline take
part. What differs from the paper, and why:

- Uploads go side by side here, as links in simfl do. In the paper they queue for one base station,
  tᵢ splits into training and upload, and quick devices may be left out for the queue's length.
- Devices answer a poll with their speed in the paper; here tᵢ is what the device's last task took.
  One never heard of is taken; one whose task was stopped took at least until then.
- The round needs one device: where none would be in time, the quickest of the polled takes part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from simfl.messages import Update
from simfl.strategy.base import Server
from simfl.strategy.selection import Selection
from simfl.units import Duration


@dataclass(slots=True)
class FedCsMemory:
    """seconds: of a device's last task. asked: by device, when its open task was sent out."""

    seconds: dict[int, float] = field(default_factory=dict)
    asked: dict[int, float] = field(default_factory=dict)

    def took_at_least(self, device: int, until_s: float) -> None:
        """The device's open task was stopped at this time."""
        spent_s = until_s - self.asked[device]
        self.seconds[device] = max(self.seconds.get(device, 0.0), spent_s)


@dataclass(frozen=True)
class FedCs(Selection):
    """Polls as many as are wanted, uniformly, and takes those who should be done in time.

    deadline_s: of a round. None takes all who are polled, as `uniform` does.
    """

    reference: ClassVar[str] = "Nishio and Yonetani, ICC 2019, arXiv 1804.08333"

    deadline_s: Duration | None = None

    def init(self) -> FedCsMemory:
        return FedCsMemory()

    def observe(self, memory: FedCsMemory, server: Server, updates: Sequence[Update]) -> None:
        for task in server.lost:
            if memory.asked.get(task.device) == task.dispatched_s:
                if task.outcome == "cancelled":
                    memory.took_at_least(task.device, task.ended_s)
                del memory.asked[task.device]
        for update in updates:
            memory.asked.pop(update.device, None)
            memory.seconds[update.device] = update.arrived_s - update.dispatched_s

    def choose(self, memory: FedCsMemory, server: Server, n: int) -> list[int]:
        polled = server.sample(n)
        if self.deadline_s is None or not polled:
            return polled
        for device in polled:
            if device in memory.asked:  # idle without an answer: it was stopped
                memory.took_at_least(device, server.now_s)
        expected = {device: memory.seconds.get(device, 0.0) for device in polled}
        chosen = [device for device in polled if expected[device] <= self.deadline_s]
        chosen = chosen or [min(polled, key=lambda device: (expected[device], device))]
        memory.asked.update(dict.fromkeys(chosen, server.now_s))
        return chosen
