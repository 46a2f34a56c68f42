"""What a run writes into its folder: the scenario at the beginning, tables and summary at the end.

A run folder is readable whatever happens: a run that is interrupted or fails leaves what it had
recorded until then.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from simfl.clock.kernel import Kernel
from simfl.engine import identity, session
from simfl.engine.build import lower_metrics
from simfl.engine.checkpoints import checkpoint
from simfl.files import own_folder, put, read_file, remove
from simfl.fleet.build import unused
from simfl.fleet.columns import Fleet
from simfl.registry import OBJECT
from simfl.results.digest import digest
from simfl.results.metrics import LOWER
from simfl.results.result import Result
from simfl.results.store import Store
from simfl.results.summary import NO_RESULT, is_end, summarise
from simfl.results.tables import MODEL, PARTS, SCENARIO
from simfl.scenario import Scenario
from simfl.scenario.naming import unnamed


def begin(
    scenario: Scenario,
    store: Store,
    fleet: Fleet,
    workers: int = 1,
    known: identity.Identity | None = None,
) -> None:
    """What a run folder holds from the start.

    scenario: settled.
    store: of the run.
    fleet: its devices become the table `devices`.
    workers: processes that train.
    known: what the run depends on; without it, what the scenario names.
    """
    checkpoint.clear(store.folder)
    _write_scenario(scenario, store.folder)
    identity.write(store.folder, known or identity.identity_of(scenario))
    session.write_environment(store.folder, workers)
    store.put_devices(fleet.columns())


def finish(kernel: Kernel, store: Store, scenario: Scenario, ended: str, cause: str = "") -> None:
    """Finishes the run folder: tables, final model, summary.

    Killed on the way, the run is resumed from its last checkpoint. So is one that failed, once the
    disk has room or the plug-in is mended; what it had recorded is written all the same.

    kernel, store: of the run.
    scenario: settled.
    ended: why the run ended, in a word.
    cause: of an end without a result.
    """
    kernel.close()
    store.join()
    params = kernel.server.published[0]
    learnt = hasattr(params, "flat")
    if learnt:
        from simfl.results.model import save_model

        save_model(store.folder / MODEL, params)
    if kernel.server.devices > scenario.fleet.devices:  # some have joined
        store.put_devices(kernel.server.fleet.columns())
    numbers = _summary(kernel, store.folder, scenario, ended, cause)
    store.put_summary({**numbers, "digest": digest(store.folder, params if learnt else None)})
    if is_end(ended) or not checkpoint.exists(store.folder):
        tidy(store.folder)


def _summary(
    kernel: Kernel, folder: Path, scenario: Scenario, ended: str, cause: str
) -> dict[str, Any]:
    """What summary.json says of the run, but for its digest."""
    diverged = kernel.evaluations.diverged
    numbers = summarise(Result(folder).parts, devices=kernel.server.devices)
    return {
        "name": scenario.name,
        "scenario": scenario.hash,
        "seed": scenario.seed,
        "ended": ended,
        **({LOWER: lower} if (lower := lower_metrics(scenario)) else {}),
        **({"cause": cause} if ended in NO_RESULT else {}),
        **({"diverged": diverged} if diverged and not cause else {}),
        **numbers,
        **kernel.workload.totals,
        **_server(kernel),
        **(kernel.processes.meter.totals if kernel.processes is not None else {}),
        **{key: None for key in numbers if key.startswith("final_") and ended == "diverged"},
        **kernel.workload.notes,
        "unused_settings": unused(scenario.fleet.group, scenario.network.cell, kernel.server.fleet),
        "models_alive_max": kernel.server.versions.peak,
    }


def _server(kernel: Kernel) -> dict[str, float]:
    """How busy its processors were, where updates take time."""
    if kernel.ingest is None:
        return {}
    return {"server_utilisation": kernel.ingest.utilisation(kernel.clock.now)}


def tidy(folder: Path) -> None:
    """A run that has ended needs neither its checkpoints nor the parts that they count."""
    checkpoint.clear(folder)
    remove(folder / PARTS)


def _write_scenario(scenario: Scenario, folder: Path) -> None:
    """The resolved scenario, with what lay beside it: all that repeats the run."""
    lost = "".join(f"# This file cannot be played again: {what}.\n" for what in _lost(scenario))
    put(folder / SCENARIO, (lost + scenario.to_toml()).encode())
    beside = {"devices": scenario.class_files(), "traces": scenario.trace_files()}
    for name, files in beside.items():
        for path in files:
            put(own_folder(folder / name) / path.name, read_file(path))


def _lost(scenario: Scenario) -> list[str]:
    """What the written scenario cannot bring back."""
    return [f"no file can name {part}" for part in unnamed(scenario)]


def warn_if_lost(scenario: Scenario, folder: Path | None) -> None:
    """Warns of parts that the written scenario cannot name, but for those given as objects."""
    lost = [part for part in unnamed(scenario) if f"({OBJECT}" not in part]
    if folder is not None and lost:
        warnings.warn(
            f"{folder / SCENARIO} cannot be played again: no file can name {lost[0]}; put "
            "it at the top of a module that can be imported",
            stacklevel=2,
        )
