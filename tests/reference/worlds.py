"""Whole scenarios by chance: fleets, networks, faults, batteries, strategies and scripts.

In an `exact` world all numbers are sums of powers of two, so that both engines' arithmetic is
exact and the many ties are ties in both. Elsewhere numbers are arbitrary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from hypothesis import strategies as st

from reference.changing import Turn
from simfl.fleet.traces import Trace, write_trace
from simfl.messages import NOTHING
from simfl.strategy.base import Change, LocalRule, Wait

#: A message of so many parameters has 125,000 bytes with its frame: a second at 1 Mbit/s.
PARAMETERS = 31_234


@dataclass(frozen=True)
class Drawn:
    """A scenario as a table, the script that is played instead of its strategy, and its kind."""

    table: dict[str, Any]
    script: tuple[int, ...] | None
    exact: bool
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Script:
    """Does what a list of numbers says, round and round: sends, applies, cancels, asks, waits."""

    numbers: Sequence[int]
    local: LocalRule = field(default_factory=LocalRule)

    def init(self, params: Any) -> dict[str, Any]:
        return {"at": 0, "held": [], "flying": {}, "blind": 0}

    def step(self, state: Any, server: Any, updates: Any) -> Wait:
        def pick(n: int) -> int:
            state["at"] += 1
            return self.numbers[state["at"] % len(self.numbers)] % n

        held, flying = state["held"], state["flying"]
        for serial in [u.task for u in updates] + [task.serial for task in server.lost]:
            flying.pop(serial, None)
        held += updates
        if pick(4) == 0:
            server.charge(seconds=0.5 * pick(4))
        if held and (how := pick(4)):
            chosen = held[: 1 + pick(3)]
            state["held"] = held[len(chosen) :]
            if how == 1:
                server.discard(chosen, "whim")
            else:
                server.apply(Change(NOTHING, {u.task: 0.5 for u in chosen}))
        if (flying and not (what := pick(6))) or (flying and what == 1):
            devices = list(flying.values())[:: 1 + pick(3)]
            (server.request_partial if what else server.cancel)(devices)
            if not what:
                state["flying"] = {s: d for s, d in flying.items() if d not in devices}
        away = [*state["flying"].values(), *retired(server)]
        idle = [d for d in range(server.devices) if d not in away]
        if pick(5) or state["blind"] == 4:
            chosen = server.sample(1 + pick(4), among=idle) if pick(2) else server.sample(pick(6))
        else:
            chosen, state["blind"] = idle[pick(3) :: 1 + pick(3)], state["blind"] + 1
        serials = server.dispatch(chosen, steps=2 ** pick(4))
        if not server.over:
            state["flying"].update(zip(serials, chosen, strict=True))
        arrivals, within, losses = pick(4) or None, 0.5 * pick(8) or None, pick(3) or None
        return Wait(arrivals, within, losses)


def retired(server: Any) -> set[int]:
    """Devices that can be given no task any more."""
    if hasattr(server, "gone"):  # the naive engine
        return set(server.gone)
    members = getattr(server.fleet, "members", None)
    return set() if members is None else set(range(server.devices)) - set(members.numbers())


def either(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


@st.composite
def drawn(draw: Any, exact: bool | None = None) -> Drawn:
    """A whole scenario."""
    exact = draw(st.booleans()) if exact is None else exact
    some = Numbers(draw, exact)
    shared = not exact and draw(either(True, True, False))
    cells = [] if exact else [some.cell(k, shared) for k in range(draw(either(0, 0, 1, 2, 5)))]
    groups = [some.group(cells) for _ in range(draw(either(1, 1, 2, 3)))]
    devices = sum(group["count"] for group in groups)
    script = None
    if draw(st.booleans()):
        script = tuple(draw(st.lists(st.integers(0, 59), min_size=3, max_size=40)))
    table = {
        "seed": draw(st.integers(0, 999)),
        "fleet": {"group": groups},
        "network": {"cell": cells},
        "server": some.server(shared),
        "learning": {
            "dataset": "none",
            "parameters": PARAMETERS if exact else draw(either(1, 1000, PARAMETERS, 100_001)),
            "examples": draw(either(1, 10, 40) if exact else either(1, 10, 25, 40)),
            "flops_per_example": 1.0,
        },
        "strategy": some.strategy(devices),
        "stop": {
            "after_s": draw(either(8.0, 20.0, 50.0))
            if exact
            else draw(either(9.731371, 31.391713, 70.171939))
        },
    }
    if limit := draw(either(None, None, "versions", "updates")):
        table["stop"][limit] = draw(st.integers(1, 12))
    turns = some.turns(shared) if draw(st.booleans()) else ()
    return Drawn(table, script, exact, turns)


@dataclass
class Numbers:
    """Draws the parts of a scenario."""

    draw: Any
    exact: bool

    def number(self, low: float, high: float) -> float:
        """Between 8 times low and high in steps of `low` (a power of two), or anything there."""
        if self.exact or not self.draw(either(True, True, False)):
            return low * self.draw(st.integers(1, round(high / low)))
        return self.draw(st.floats(low, high))

    def maybe(self, value: Any, otherwise: Any = 0.0, of: int = 2) -> Any:
        return value() if self.draw(st.integers(0, of - 1)) == 0 else otherwise

    def rate(self) -> float:
        if self.exact:
            return self.draw(either(0.25, 0.5, 1.0, 2.0, 4.0))
        return self.draw(either(0.25, 0.5, 1.0, 2.0, 4.0) | st.floats(0.05, 20.0))

    def group(self, cells: list[dict[str, Any]]) -> dict[str, Any]:
        group = {"count": self.draw(either(1, 1, 2, 3, 4, 6, 10)), "compute": self.compute()}
        if self.draw(st.integers(0, 7)):
            group["network"] = self.link()
        if self.draw(st.integers(0, 2)) == 0:
            group["battery"], group["power"] = self.battery()
        if cells and self.draw(st.integers(0, 3)):
            group["cell"] = self.draw(either(*cells))["name"]
        group["presence"] = self.presence()
        group["faults"] = self.faults("battery" in group)
        return group

    def compute(self) -> dict[str, Any]:
        per = self.draw(either("task", "step"))
        s = self.number(0.125 if per == "step" else 0.5, 2.0 if per == "step" else 6.0)
        if self.exact:
            return {"kind": "constant", "s": s, "per": per}
        if self.draw(either(False, False, True)):
            return {
                "kind": "rate", "gflops": 1e-9 * self.number(4.0, 64.0), "setup_s": 0.5,
                "jitter_sigma": 0.3,
            }  # fmt: skip
        kind = self.draw(either("constant", "exponential"))
        return {"kind": kind, "s" if kind == "constant" else "mean_s": s, "per": per}

    def link(self) -> dict[str, Any]:
        link = {"down_mbps": self.rate(), "up_mbps": self.rate()}
        link["latency_s"] = self.maybe(lambda: self.number(0.25, 2.0))
        if not self.exact:
            link["loss"] = self.maybe(lambda: 0.3, of=4)
            link["jitter_sigma"] = self.maybe(lambda: 0.5, of=4)
            link["latency_sigma"] = self.maybe(lambda: 0.5, of=4)
            if self.draw(st.integers(0, 4)) == 0:
                link["trace"] = "rates"
        return link

    def battery(self) -> tuple[dict[str, Any], dict[str, Any]]:
        charge_w, train_w, radio_w = self.draw(
            either((0, 4, 2), (0, 2, 0), (1, 5, 3), (2, 4, 1), (1, 1, 2), (4, 2, 8))
        )
        if not self.exact and self.draw(st.booleans()):
            # Not just above the charge: a level that falls slowly makes much of rounding errors.
            charge_w = self.number(0.5, 3.0)
            train_w, radio_w = (
                charge_w + self.number(1.5, 6.0) if self.draw(st.booleans()) else 0.5 * charge_w
                for _ in range(2)
            )
        battery = {
            "capacity_j": self.number(1.0, 40.0),
            "charge_w": float(charge_w),
            "resume": self.draw(either(0.0625, 0.25, 0.5, 1.0)),
        }
        battery["start_low"] = battery["start_high"] = self.draw(either(1.0, 1.0, 0.5))
        if not self.exact:
            battery["start_low"] = self.draw(either(0.0, 0.3, 1.0)) * battery["start_high"]
        return battery, {"train_w": float(train_w), "radio_w": float(radio_w)}

    def presence(self) -> Any:
        kind = self.draw(either("always", "always", "trace", "onoff"))
        if kind == "onoff" and not self.exact:
            return {"kind": "onoff", "mean_on_s": self.number(0.5, 20.0),
                    "mean_off_s": self.number(0.5, 10.0)}  # fmt: skip
        if kind == "always":
            return kind
        return {
            "kind": "trace",
            "trace": "grid" if self.exact else self.draw(either("grid", "odd")),
        }

    def faults(self, battery: bool) -> dict[str, Any]:
        faults = {"on_offline": self.draw(either("lost", "pause", "pause", "finish"))}
        if not (self.exact and battery) and self.draw(st.integers(0, 2)) == 0:
            faults["drop_probability"] = self.draw(either(0.2, 0.6))
            faults["drop_phase"] = self.draw(either("any", "any", "download", "train", "upload"))
            if not self.exact and self.draw(st.booleans()):
                faults["retry"] = {"times": self.draw(st.integers(1, 3)), "factor": 2.0,
                                   "wait_s": self.draw(either(0.0, 0.5, 1.0, 3.0))}  # fmt: skip
        if self.draw(st.integers(0, 5)) == 0:
            hang = {"kind": "constant", "s": self.number(0.5, 8.0)}
            faults["suspend"] = {"probability": 0.3, "hang": hang}
        if not self.exact and self.draw(st.integers(0, 3)) == 0:
            faults["hazard_per_hour"] = self.draw(either(60.0, 600.0))
        return faults

    def cell(self, k: int, shared: bool) -> dict[str, Any]:
        cell: dict[str, Any] = {"name": f"cell{k}", "count": self.draw(either(1, 1, 2))}
        for way in ("down_mbps", "up_mbps"):
            if shared and self.draw(st.integers(0, 3)):
                cell[way] = self.rate()
        if shared and self.draw(st.integers(0, 3)) == 0:
            cell["trace"] = "rates"
        if self.draw(st.integers(0, 3)) == 0:
            cell["outages"] = {"mean_up_s": self.number(0.5, 20.0),
                               "mean_down_s": self.number(0.5, 5.0)}  # fmt: skip
        return cell

    def server(self, shared: bool) -> dict[str, Any]:
        if not shared:
            return {"sharing": "none"}
        caps = {way: self.rate() * 2.0 for way in ("down_mbps", "up_mbps")}
        kept = {way: cap for way, cap in caps.items() if self.draw(st.integers(0, 3))}
        return {"sharing": "max-min", **kept}

    def turns(self, shared: bool) -> tuple[Turn, ...]:
        """Changes of the world at multiples of 1/8 s, several at one instant among them."""
        methods = ["set_speed", "set_link", "leave", "come_back", "end_task", "retire"]
        methods += ["set_cell", "set_server", "move"] if shared else []
        moments = self.draw(st.lists(st.integers(0, 160), min_size=1, max_size=12))
        return tuple(self._turn(k / 8.0, self.draw(either(*methods))) for k in sorted(moments))

    def _turn(self, at_s: float, method: str) -> Turn:
        factor = either(0.25, 0.5, 2.0, 4.0, 1.0) if self.exact else st.floats(0.1, 8.0)
        which = self.draw(st.integers(0, 9))
        if method == "set_speed":
            return Turn(at_s, method, (which, self.draw(factor)))
        if method == "set_link":
            return Turn(at_s, method, (which, self.draw(factor), self.draw(factor)))
        if method == "end_task":
            return Turn(at_s, method, (which, "strike"))
        if method == "move":
            return Turn(at_s, method, (which, self.draw(st.integers(0, 9))))
        if method in ("leave", "come_back", "retire"):
            return Turn(at_s, method, (which,))
        rates = (self.maybe(self.rate, None), self.maybe(self.rate, None))
        return Turn(at_s, method, (which, *rates) if method == "set_cell" else rates)

    def strategy(self, devices: int) -> dict[str, Any]:
        draw, few = self.draw, st.integers(1, min(6, devices))
        kind = draw(either("fedavg", "overselect", "fedbuff", "fedasync", "semisync", "safa"))
        work = (
            {"steps": draw(either(1, 2, 4) if self.exact else either(1, 2, 5))}
            if draw(st.booleans())
            else {}
        )
        deadline = {} if draw(st.booleans()) else {"deadline_s": self.number(0.5, 10.0)}
        if kind == "fedavg":
            return {"kind": kind, "cohort": draw(few), **work}
        if kind == "overselect":
            return {"kind": kind, "cohort": draw(few), "over_select": draw(either(1.0, 1.5, 2.0)),
                    "on_surplus": draw(either("cancel", "ignore")), **deadline, **work}  # fmt: skip
        if kind == "semisync":
            return {"kind": kind, "cohort": draw(few), **deadline, **work}
        if kind == "safa":
            return {"kind": kind, "quota": draw(either(0.25, 0.5, 1.0)),
                    "lag": draw(either(1, 2, 5)), **deadline, **work}  # fmt: skip
        buffered = {
            "kind": kind,
            "concurrency": draw(few),
            "refill": draw(either("uniform", "same")),
            "dispatch": draw(either("before", "after")),
            "on_loss": draw(either("wait", "replace")),
            "max_staleness": draw(either(None, 1, 3)),
            **work,
        }
        if kind == "fedbuff":
            buffered |= {"buffer": draw(few), "on_stale": draw(either("drop", "wait", "request"))}
        return {key: value for key, value in buffered.items() if value is not None}


@cache
def folder() -> Path:
    """Where the traces of these scenarios lie."""
    here = Path(mkdtemp(prefix="worlds-"))
    (here / "traces").mkdir()
    rng = np.random.default_rng(7)
    grid = [(0, 0.0, 4.0), (0, 6.0, 8.0), (1, 1.0, 16.0), (2, 0.0, 2.5), (2, 3.0, 16.0)]
    odd = [(0, 0.0, 3.3), (0, 4.1, 9.7), (1, 0.4, 30.0), (2, 0.0, 7.7), (2, 9.1, 17.3)]
    for name, rows, period_s in (("grid", grid, 16.0), ("odd", odd, None)):
        device, start, end = (np.array(column) for column in zip(*rows, strict=True))
        columns = {"device": device, "start_s": start, "end_s": end}
        about = {"devices": 3, "period_s": period_s}
        write_trace(here / "traces" / f"{name}.parquet", Trace("presence", columns, about))
    steps = 8
    columns = {
        "trace": np.repeat([0, 1], steps),
        "t_s": np.tile(np.arange(1.0, steps + 1.0), 2) * np.repeat([1.0, 0.7], steps),
        "down_mbps": rng.choice([0.0, 0.5, 1.0, 3.0, 7.3], 2 * steps) + 1e-3 * (np.arange(16) == 3),
        "up_mbps": rng.choice([0.5, 1.0, 2.9], 2 * steps),
    }
    write_trace(here / "traces" / "rates.parquet", Trace("bandwidth", columns))
    return here
