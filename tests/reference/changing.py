"""A scripted process of the world, and the same changes in the naive engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reference.world import ALWAYS
from simfl.units import MBPS


@dataclass(frozen=True)
class Turn:
    """One change: when, by which method of the world, and what that is given."""

    at_s: float
    method: str
    given: tuple[Any, ...]


@dataclass(frozen=True)
class Scripted:
    """Makes these changes, which are in order of time; a device beyond the fleet is its modulus."""

    turns: Sequence[Turn]
    moves: bool = False  #: there are cells, and none of them has outages

    def run(self, env: Any, world: Any) -> Any:
        for turn in self.turns:
            yield env.timeout(turn.at_s - env.now)
            given = list(turn.given)
            if turn.method == "set_cell":
                if not world.cells:
                    continue
                given[0] %= len(world.cells)
            elif turn.method != "set_server":
                given[0] %= world.devices
                if not world.is_member(given[0]):
                    continue
            if turn.method == "move":
                if not self.moves:
                    continue
                given[1] %= len(world.cells)
            getattr(world, turn.method)(*given)


def schedule(engine: Any, turns: Sequence[Turn]) -> None:
    """The same changes in the agenda of the naive engine."""
    for turn in turns:
        engine.later(turn.at_s, "world", lambda turn=turn: _change(engine, turn))


def _change(engine: Any, turn: Turn) -> None:
    world, method, given = engine.world, turn.method, turn.given
    if method == "set_server":
        for up, mbps in enumerate(given):
            world.rates[up] = world.rates[up] if mbps is None else mbps * MBPS
        return
    cells = len(world.fleet.cells)
    if method == "set_cell":
        for up, mbps in enumerate(given[1:]):
            if cells and mbps is not None:
                world.set_rates[given[0] % cells, bool(up)] = mbps * MBPS
        return
    device = given[0] % len(world.fleet)
    if device in engine.gone:
        return
    if method == "set_speed":
        world.speeds[device] = given[1]
    elif method == "set_link":
        world.factors[device] = given[1:]
    elif method == "leave":
        world.left.add(device)
    elif method == "come_back" and device in world.left:
        world.left.discard(device)
        if any(kind == "back" for _, kind, _ in engine.agenda):  # a step waits for any device
            engine.later(engine.reachable_s(device), "back", engine.ask)
    elif method == "move" and cells and not any(cell is not ALWAYS for cell in world.cells):
        world.moved[device] = given[1] % cells
    elif method == "retire":
        for task in [t for t in engine.tasks.values() if t.device == device]:
            engine.end(task, "lost", "retired")
        engine.put(device, engine.idle - 1)  # among those who are not idle
        engine.gone.add(device)
        world.left.add(device)
    elif method == "end_task":
        for task in [t for t in engine.tasks.values() if t.device == device]:
            engine.end(task, "lost", given[1])
