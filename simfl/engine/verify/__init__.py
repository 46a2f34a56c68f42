"""All that can be checked of a run folder: its tables' laws, and these against its scenario.

`simfl.results.verify` looks at what was written; here the scenario is read, the fleet is made
again from it, and every task is held to its device's own draws and to its codecs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from simfl.engine.verify import codecs, draws, edges, played
from simfl.engine.verify.replay import replayed as replayed
from simfl.engine.verify.world import World
from simfl.results.result import Result
from simfl.results.tables import SCENARIO
from simfl.results.verify import LAWS, SUMMARY_LAWS, Check, checked, verify
from simfl.scenario import load

#: Of a run and the scenario that it was played from.
WORLD_LAWS: dict[str, Callable[[World], str | None]] = {
    "bytes are those of the codecs": codecs.sizes,
    "devices are those of the scenario": played.devices,
    "messages take latency, and their bytes over the device's rate": draws.links,
    "totals so far are what messages had moved": draws.totals,
    "training takes what the device's law says": draws.training,
    "tasks fail when chance and absence say so": draws.failures,
    "tasks and models take the links of their edges": edges.links,
}

#: The same, of a finished run.
PLAYED_LAWS: dict[str, Callable[[World], str | None]] = {
    "the summary is that of the scenario": played.scenario,
}


def audit(run: Result) -> list[Check]:
    """Every law, checked on a run. Raises InputError if its tables or scenario cannot be read."""
    world = World(run, load(run.folder / SCENARIO, trusted=False))
    laws = {**WORLD_LAWS, **(PLAYED_LAWS if run.finished else {})}
    found = verify(run)
    asked = [checked(law, partial(wrong), world) for law, wrong in laws.items()]
    return found[: len(LAWS)] + asked + found[len(LAWS) :]


def laws() -> list[str]:
    """The names of all laws, in the order of `audit`."""
    return [*LAWS, *WORLD_LAWS, *PLAYED_LAWS, *SUMMARY_LAWS]
