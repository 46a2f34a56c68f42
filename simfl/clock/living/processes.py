"""Plays the processes of a run: generators on SimPy, state machines on the clock itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from simfl.clock.events import Kind
from simfl.clock.living.changes import Changes
from simfl.clock.living.environment import Environment, named_error
from simfl.clock.living.face import WorldFace
from simfl.clock.living.journal import Journal
from simfl.clock.living.meter import Meter
from simfl.clock.living.randomness import Draws
from simfl.errors import PluginError, Stalled
from simfl.world import PROCESSES
from simfl.world.base import is_machine, kind_of

if TYPE_CHECKING:
    from simfl.clock.kernel import Kernel
    from simfl.clock.ledger import Append
    from simfl.streams import Streams

#: Turns of processes between which nothing else happens, after which a run without `after_s` ends.
FRUITLESS = 1_000_000


class Processes:
    """The processes of one run, in the order in which they are listed."""

    __snapshot__ = ("states",)  #: kept by checkpoints

    def __init__(
        self,
        kernel: Kernel,
        processes: Sequence[Any],
        streams: Streams,
        append: Append,
        meter: Meter,
    ) -> None:
        self.processes = list(processes)
        self.names = names_of(self.processes)
        self.journal = Journal(append)
        self.draws = Draws(streams)
        self.meter = meter
        self.states: dict[int, Any] = {}  #: of state machines, by number
        self._kernel, self._clock = kernel, kernel.clock
        self._changes = changes = Changes(kernel, self.journal, meter)
        self._worlds = [WorldFace(changes, name, self.draws) for name in self.names]
        self._env = Environment()
        self._seen, self._turns = (0, 0, 0), 0
        kernel.clock.handlers |= {"world.turn": self._turn, "world.next": self._next}

    def begin(self) -> None:
        """All processes begin at 0, before the strategy's first step."""
        for number, (process, name) in enumerate(zip(self.processes, self.names, strict=True)):
            world = self._worlds[number]
            try:
                if is_machine(process):
                    init = getattr(process, "init", None)
                    self.states[number] = None if init is None else init(world)
                    self._clock.at(self._clock.now, Kind.WORLD, number + 1, "world.next", number)
                    continue
                generator = process.run(self._env, world)
                if generator is not None:  # else it acted once, and has nothing to wait for
                    self._env.begin(name, generator)
            except (Exception, SystemExit) as error:
                raise named_error(name, self._clock.now, error) from error
        self._await()

    def make_room(self, groups: Sequence[int]) -> None:
        """For newcomers of these groups, which a checkpoint is about to bring back."""
        for group in groups:
            self._changes.make_room(group)

    def _await(self) -> None:
        due_s = float(self._env.peek())
        if due_s < inf:
            self._clock.at(due_s, Kind.WORLD, 0, "world.turn")

    def _turn(self, _: object) -> None:
        self._watch()
        try:
            self._env.play(self._clock.now)
        except Exception as error:  # of an event that failed and that no process waited for
            raise named_error("of SimPy", self._clock.now, error) from error
        self._await()

    def _next(self, number: int) -> None:
        self._watch()
        now_s, process = self._clock.now, self.processes[number]
        try:
            wait_s = process.next(self.states[number], self._worlds[number])
            if wait_s is None:
                return
            if not wait_s >= 0.0:
                raise PluginError(f"next returned {wait_s!r}, expected seconds of 0 or more")
        except (Exception, SystemExit) as error:
            raise named_error(self.names[number], now_s, error) from error
        self._clock.at(now_s + wait_s, Kind.WORLD, number + 1, "world.next", number)

    def _watch(self) -> None:
        """Raises Stalled where processes alone go on, and nothing would ever end the run."""
        kernel = self._kernel
        seen = (kernel.ledger.ended, kernel.server.steps, len(kernel.server.tasks))
        if seen != self._seen:
            self._seen, self._turns = seen, 0
        self._turns += 1
        if self._turns > FRUITLESS and kernel.plan.limits.after_s == inf:
            raise Stalled(
                f"nothing but processes acts since long before t = {self._clock.now:g} s: "
                f"{FRUITLESS:,} turns of them, and no task began or ended. Give the run `after_s`."
            )


def names_of(processes: Sequence[Any]) -> list[str]:
    """What the tables call each process: its kind, numbered from the second of a kind on."""
    kinds = [PROCESSES.name_of(kind_of(process)) for process in processes]
    met: Counter[str] = Counter()
    names = []
    for kind in kinds:
        met[kind] += 1
        names.append(kind if met[kind] == 1 else f"{kind}-{met[kind]}")
    return names
