"""What a scenario makes of a run's devices: the fleet, and the draws of every task."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from typing import Any

import numpy as np

from simfl.clock.living.altered import AlteredFleet
from simfl.engine.build import fleet_of
from simfl.engine.session import ENVIRONMENT
from simfl.fleet.columns import Fleet
from simfl.messages import examples_seen
from simfl.results.result import Result
from simfl.results.tables import DELIVERED
from simfl.results.verify import Unchecked, plays_an_app
from simfl.scenario import Scenario
from simfl.streams import Streams


@dataclass(frozen=True)
class World:
    """A run, its scenario, and what follows from that alone."""

    run: Result
    scenario: Scenario

    @cached_property
    def app(self) -> bool:
        """Whether a Flower app decides."""
        return plays_an_app(self.run.scenario.get("strategy", {}))

    @property
    def own_loop(self) -> bool:
        """Whether a training function makes the steps on devices."""
        return getattr(self.scenario.learning, "train", None) is not None

    @cached_property
    def streams(self) -> Streams:
        """The run's, from its seed."""
        return Streams(self.scenario.seed)

    @cached_property
    def fleet(self) -> Fleet:
        """Made again. Raises Unchecked where another simfl made the run's."""
        base = self.base
        groups = self.joined
        if not groups:
            return base
        fleet: Any = AlteredFleet(base)
        for group in groups:
            fleet.members.join(group)
        return fleet

    @cached_property
    def base(self) -> Fleet:
        """The scenario's devices alone. Raises Unchecked as `fleet` does."""
        self._check_version()
        return self._fitting(fleet_of(self.scenario, self.streams))

    @cached_property
    def joined(self) -> list[int]:
        """The groups of the devices that have joined, in order."""
        return [int(group) for group in self.changes("add")["value"]]

    @cached_property
    def group(self) -> np.ndarray:
        """The group of every device, newcomers behind the others."""
        return np.concatenate([self.base.group, np.array(self.joined, dtype=np.int32)])

    def changes(self, *methods: str) -> Any:
        """The events in which a process called one of these methods of its world."""
        events = self.run.events
        return events[events["kind"].astype(str).isin([f"world.{one}" for one in methods])]

    def untouched(self, *methods: str) -> np.ndarray:
        """(n,) bool: tasks of devices for which no process ever called one of these methods."""
        touched = self.changes(*methods)["device"].dropna().to_numpy(np.int64)
        return ~np.isin(self.tasks.device, touched)

    def speed_integral(self, device: int, moments: np.ndarray) -> np.ndarray:
        """Nominal seconds that training on a device would have passed by each moment."""
        mine = self.changes("set_speed")
        mine = mine[mine["device"] == device]
        knots = np.concatenate([[0.0], mine["time"].to_numpy()])
        factors = np.concatenate([[1.0], mine["value"].to_numpy()])
        passed = np.concatenate([[0.0], np.cumsum(np.diff(knots) * factors[:-1])])
        at = np.searchsorted(knots, moments, side="right") - 1
        return np.asarray(passed[at] + (moments - knots[at]) * factors[at])

    def _check_version(self) -> None:
        try:
            environment = json.loads((self.run.folder / ENVIRONMENT).read_text("utf-8"))
            there = environment["packages"]["simfl"]
        except (OSError, ValueError, LookupError, TypeError):
            return  # it is not recorded, so it is taken for this one
        here = metadata.version("simfl")
        if there != here:
            raise Unchecked(f"simfl {there} made the fleet, and this is simfl {here}")

    def _fitting(self, fleet: Fleet) -> Fleet:
        """Without the devices that the run left out for want of memory, if that was asked for."""
        there = self.run.devices["presence"].astype(str).to_numpy()
        if self.scenario.fleet.memory != "exclude" or len(there) < len(fleet):
            return fleet
        firsts = np.searchsorted(fleet.group, np.arange(len(fleet.groups)))
        out = [
            g
            for g, group in enumerate(fleet.groups)
            if group.memory_bytes and there[firsts[g]] == "never"
        ]
        groups = tuple(
            replace(group, presence="never") if g in out else group
            for g, group in enumerate(fleet.groups)
        )
        return replace(fleet, groups=groups, presence=fleet.presence.without(out))

    @cached_property
    def shared(self) -> bool:
        """Whether other transfers can slow down a message, or a trace moves its rate."""
        return self.scenario.server.sharing == "max-min" or self.base.link.varying

    @cached_property
    def tasks(self) -> Tasks:
        """The tasks that left the server."""
        table = self.run.tasks.sort_values("task")
        index = table.groupby("device").cumcount()
        left = table["examples"] > 0
        table, index = table[left], index[left]
        outcome = table["outcome"].astype(str)
        retries = np.array([one.faults.retry is not None for one in self.scenario.fleet.group])
        device = table["device"].to_numpy()
        return Tasks(
            serial=table["task"].to_numpy(),
            device=device,
            u=self._draws(device, index.to_numpy()),
            spent_s=table[["download_s", "train_s", "upload_s"]].to_numpy(),
            lived_s=(table["ended_s"] - table["dispatched_s"]).to_numpy(),
            dispatched_s=table["dispatched_s"].to_numpy(),
            ended_s=table["ended_s"].to_numpy(),
            moved=table[["down_bytes", "up_bytes"]].to_numpy(),
            phase=table["phase"].astype(str).to_numpy(dtype=object),
            cause=table["cause"].astype(str).to_numpy(dtype=object),
            delivered=outcome.isin(DELIVERED).to_numpy(),
            retries=retries[self.group][device],
            examples=table["examples"].to_numpy(),
            epochs=table["epochs"].to_numpy(),
        )

    def _draws(self, device: np.ndarray, index: np.ndarray) -> np.ndarray:
        draws = [
            self.streams.uniforms("task", i, k)
            for i, k in zip(device.tolist(), index.tolist(), strict=True)
        ]
        return np.array(draws).reshape(-1, 8)


@dataclass(frozen=True)
class Tasks:
    """Columns of tasks, (n,) each.

    u: (n, 8) their draws.
    spent_s, moved: by phase and way.
    retries: of a device that begins a phase anew when it fails there.
    """

    serial: np.ndarray
    device: np.ndarray
    u: np.ndarray
    spent_s: np.ndarray
    lived_s: np.ndarray
    dispatched_s: np.ndarray
    ended_s: np.ndarray
    moved: np.ndarray
    phase: np.ndarray
    cause: np.ndarray
    delivered: np.ndarray
    retries: np.ndarray
    examples: np.ndarray
    epochs: np.ndarray

    def seen(self) -> np.ndarray:
        """Examples that each task passed over; 0 where nothing can be known."""
        found = np.nan_to_num(self.epochs * self.examples, posinf=0.0)
        return np.round(found).astype(np.int64)

    def steps(self, batch_size: int) -> np.ndarray:
        """Mini-batch steps that each task made, from the examples that it passed over."""
        full, rest = np.divmod(self.seen(), self.examples)
        return full * -(-self.examples // batch_size) + -(-rest // batch_size)

    def whole_steps(self, batch_size: int) -> np.ndarray:
        """(n,) bool: whether so many examples are those of whole mini-batches."""
        made = [
            examples_seen(n, batch_size, steps)
            for n, steps in zip(
                self.examples.tolist(), self.steps(batch_size).tolist(), strict=True
            )
        ]
        return np.isclose(np.array(made) / self.examples, self.epochs, rtol=1e-9)

    def first(self, wrong: np.ndarray, what: str) -> str | None:
        """What is wrong, with the first task that shows it."""
        at = np.flatnonzero(wrong)
        if not len(at):
            return None
        others = f" and {len(at) - 1} more" if len(at) > 1 else ""
        return f"{what}: task {self.serial[at[0]]}{others}"
