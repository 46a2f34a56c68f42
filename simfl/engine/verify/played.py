"""Laws of what was played: the scenario's devices, its hash, and its settings without effect."""

from __future__ import annotations

from typing import get_args

import numpy as np

from simfl.engine import identity
from simfl.engine.verify.world import World
from simfl.fleet.build import unused


def devices(w: World) -> str | None:
    """Every column of every device, made again from the scenario and its seed."""
    seen, right = w.run.devices, w.fleet.columns()
    if len(seen) != len(w.fleet):
        return f"there are {len(seen)} devices, the scenario has {len(w.fleet)}"
    missing = sorted(set(right) - set(seen.columns))
    if missing:
        return f"devices have no column {missing[0]}"
    for name, values in right.items():
        wrong = np.flatnonzero(~_same(seen[name].to_numpy(), values))
        if len(wrong):
            return f"{name} of device {wrong[0]} is {seen[name].iloc[wrong[0]]}, not the scenario's"
    return None


def _same(seen: np.ndarray, right: np.ndarray) -> np.ndarray:
    if right.dtype.kind == "f":
        close = np.isclose(seen.astype(float), right, rtol=1e-9, atol=0.0, equal_nan=True)
        return np.asarray(close)
    return np.asarray(seen.astype(object) == right.astype(object))


def scenario(w: World) -> str | None:
    """Its hash, its options in identity.json, and its unused settings."""
    seen, found = w.run.summary.get("scenario"), w.scenario.hash
    if seen != found:
        return f"the summary is of scenario {seen}, the folder holds {found}"
    known = identity.read(w.run.folder)
    if known is not None and not w.scenario.foreign:
        timing = known.get("played") == "with timing only"
        differ = identity.same_options(known, w.scenario, timing)
        if differ:
            return f"identity.json tells of another scenario: {differ[0]}"
    if not _idle(w):
        return "unused_settings are not the scenario's"
    return None if w.app or w.run.params is None else _trainer(w)


def _trainer(w: World) -> str | None:
    """The summary says how it was computed; why it was so is this machine's affair."""
    from simfl.learn.trainers import Kind

    kind = str(w.run.summary.get("trainer")).partition(":")[0]
    return None if kind in get_args(Kind) else f"there is no trainer {kind!r}"


def _idle(w: World) -> bool:
    """A resolved scenario does not show which settings were given, and which are defaults."""
    seen = w.run.summary.get("unused_settings")
    idle = unused(w.scenario.fleet.group, w.scenario.network.cell, w.fleet)
    given = [setting for setting in idle if "on_offline" not in setting]
    return isinstance(seen, list) and set(given) <= set(seen) <= set(idle)
