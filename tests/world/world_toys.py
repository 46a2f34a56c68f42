"""Small scenarios for processes, and processes that tests name by dotted path."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import simfl
from simfl import Seconds

#: A message of the model takes a second at 8 Mbit/s.
PARAMETERS = 250_000 - 16


def table(count: int = 2, train_s: float = 100.0, **more: Any) -> dict[str, Any]:
    """One round of FedAvg on devices that train for so long, a second of transfer either way."""
    group = {
        "count": count,
        "compute": {"kind": "constant", "s": train_s},
        "network": {"down_mbps": 8.0, "up_mbps": 8.0},
    }
    return {
        "fleet": {"group": [{**group, **more.pop("group", {})}]},
        "learning": {
            "dataset": "none",
            "parameters": PARAMETERS,
            "examples": 10,
            "flops_per_example": 1.0,
        },
        "strategy": {"kind": "fedavg", "cohort": count},
        "stop": {"versions": 1},
        **more,
    }


@dataclass
class At:
    """Calls a function of the world at a moment."""

    at_s: float
    act: Callable[[Any], Any]

    def run(self, env: Any, world: Any) -> Generator[Any, Any, None]:
        yield env.timeout(self.at_s)
        self.act(world)


def played(scenario: dict[str, Any], *processes: Any, **more: Any) -> simfl.Result:
    """The run of a scenario with these processes."""
    return simfl.run(scenario, processes=processes, **more)


def at(seconds: float, act: Callable[[Any], Any], scenario: dict[str, Any]) -> simfl.Result:
    """The run of a scenario in which a function of the world is called at a moment."""
    return played(scenario, At(seconds, act))


@dataclass(frozen=True)
class Breathing:
    """A state machine: all devices train at a random speed, drawn anew every so often."""

    every_s: Seconds = 7.0

    def init(self, world: Any) -> list[int]:
        return [0]

    def next(self, state: list[int], world: Any) -> float:
        state[0] += 1
        factor = 0.5 + world.generator("speed").random()
        for device in range(world.devices):
            world.set_speed(device, factor)
        world.log("turn", value=state[0])
        if state[0] % 3 == 2:
            world.leave(1)
        elif state[0] % 3 == 0:
            world.come_back(1)
        return self.every_s


@dataclass(frozen=True)
class Migrating:
    """A state machine: every so often a device joins, and the one before it is retired."""

    every_s: Seconds = 7.0

    def init(self, world: Any) -> list[int]:
        return []

    def next(self, state: list[int], world: Any) -> float:
        state += world.add(0)
        world.set_speed(state[-1], 2.0)
        if len(state) > 2:
            world.retire(state.pop(0))
        return self.every_s


@dataclass(frozen=True)
class Sighing:
    """The same thing as a generator, with no end."""

    every_s: Seconds = 7.0

    def run(self, env: Any, world: Any) -> Generator[Any, Any, None]:
        while True:
            for device in range(world.devices):
                world.set_speed(device, 0.5 + world.generator("speed").random())
            yield env.timeout(self.every_s)


def tide(env: Any, world: Any, every_s: float = 40.0, factor: float = 0.5) -> Generator:
    """A process that is a function: all devices slow down, and come back."""
    while True:
        world.log("ebb", value=factor)
        for device in range(world.devices):
            world.set_speed(device, factor)
        yield env.timeout(every_s)
        for device in range(world.devices):
            world.set_speed(device, 1.0)
        yield env.timeout(every_s)


def falls(env: Any, world: Any) -> Generator:
    """A function that fails after a while."""
    yield env.timeout(5)
    world.set_speed(99, 0.5)
