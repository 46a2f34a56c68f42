"""How much memory a run needs, part by part, against what this machine has."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from math import inf

from simfl.results import formatting

#: Models that one task under way holds: its own, the gradient, and two of an optimiser.
PER_TASK = 4

#: Models that a checkpoint holds while it is written, and those that strategies keep beside the
#: newest: a server optimiser's two, an average.
SPARE = 6

#: Bytes of a process with simfl and PyTorch in it, as measured on Linux.
PROCESS_BYTES = 350e6

#: Bytes of what a run loads later (tables, compiled code), as measured by benchmarks/memory.py.
LATER_BYTES = 120e6

#: Share of the machine's memory from which on a run is tight.
TIGHT = 0.8

#: Share of the machine's memory that a run fills before models that wait are moved to disk.
FILLED = 0.5


def parts_of(
    model: float, waiting: int, tasks: int, devices: int, budget: float = inf
) -> dict[str, float]:
    """Bytes at most, by what holds them, of a run whose data are loaded by now.

    model: bytes of the dense model.
    waiting: most versions, and updates, that are alive at once.
    tasks: trained at a time.
    devices: that keep a model or a memory of their own.
    budget: bytes of models that wait beyond which they are moved to disk.
    """
    held = {
        "loaded by now": loaded_bytes(),
        "loaded later": LATER_BYTES,
        "versions and updates": min(waiting * model, budget),
        "tasks that train": tasks * PER_TASK * model,
        "memories of devices": devices * model,
        "strategy and checkpoint": SPARE * model,
    }
    return {name: value for name, value in held.items() if value}


def in_words(parts: Mapping[str, float], machine: float | None, on_disk: float = 0.0) -> str:
    """The total, its parts, and a verdict.

    machine: bytes of memory; None if they are not known.
    on_disk: bytes that are moved there.

    >>> in_words({"versions": 3e9, "tasks that train": 1e9}, 8e9)
    'at most 4 GB (versions 3 GB, tasks that train 1 GB), which fits into the 8 GB here'
    >>> in_words({"versions": 45e9}, 8e9).partition(", ")[2]
    'which does not fit into the 8 GB here: let fewer devices work at once, or take a smaller model'
    """
    total = sum(parts.values())
    listed = ", ".join(f"{name} {formatting.amount(value, 'B')}" for name, value in parts.items())
    text = f"at most {formatting.amount(total, 'B')} ({listed})"
    if on_disk:
        text += f", and {formatting.amount(on_disk, 'B')} of versions and updates on disk"
    if machine is None:
        return text
    here = f"the {formatting.amount(machine, 'B')} here"
    if total > machine:
        advice = "let fewer devices work at once, or take a smaller model"
        return f"{text}, which does not fit into {here}: {advice}"
    if total > TIGHT * machine:
        return f"{text}, which is tight in {here}"
    return f"{text}, which fits into {here}"


def machine_bytes() -> float | None:
    """Memory of this machine, or of the control group that this process may use; None: unknown."""
    found = []
    with suppress(ValueError, OSError, AttributeError):
        found.append(float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))
    with suppress(ValueError, OSError), open("/sys/fs/cgroup/memory.max") as file:
        found.append(float(file.read()))  # "max" is no number
    return min(found, default=None)


def allowed_bytes(runs: int = 1) -> float:
    """What each of so many runs on this machine may fill."""
    machine = machine_bytes()
    return inf if machine is None else FILLED * machine / runs


def loaded_bytes() -> float:
    """Most that this process has held so far; where that is unknown, what one usually holds."""
    try:
        import resource
    except ImportError:
        return PROCESS_BYTES
    peak = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else peak * 1024.0
