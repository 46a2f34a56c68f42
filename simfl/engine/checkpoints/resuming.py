"""Whether a run may go on from what lies in a folder: only if it is the same run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from simfl.engine import identity
from simfl.engine.checkpoints.saving import Saved, mark_of
from simfl.engine.loading import dataset_of
from simfl.errors import DataError, InputError
from simfl.results.summary import is_end, summary_of
from simfl.results.tables import MODEL
from simfl.scenario import LearningOptions, Scenario, TimingOptions
from simfl.scenario.parts import plain
from simfl.world.base import is_machine, kind_of


def check(
    folder: Path, known: identity.Identity, scenario: Scenario, timing: bool, saved: Saved | None
) -> None:
    """Raises InputError, naming the difference, if the folder holds another run than this.

    known: what this run depends on.
    scenario: as it was given, with "auto" in it.
    saved: the folder's checkpoint. A run that failed may go on with code that was mended meanwhile,
        with a warning.
    """
    old = identity.read(folder)
    if old is None:
        _check_unrecorded(folder, scenario, timing, saved)
        return
    found = identity.compare(old, known)
    failed = str(summary_of(folder).get("ended", "")).startswith("failed")
    if found and failed and _code_alone(old, known):
        warnings.warn(f"{folder}: goes on with other code: {identity.worded(found)}", stacklevel=2)
    else:
        _refuse(folder, found)


def check_options(folder: Path, scenario: Scenario, timing: bool) -> None:
    """Raises InputError if the folder holds a run with other options. Nothing is loaded."""
    old = identity.read(folder)
    if old is None:
        there = summary_of(folder).get("scenario", scenario.hash)
        found = [] if there == scenario.hash else [f"hash {there}, this one is {scenario.hash}"]
    else:
        found = identity.same_options(old, scenario, timing)
    if found:
        raise InputError(
            f"{folder} holds a run of another scenario ({identity.worded(found)}); choose another "
            "folder with --out, or remove that one"
        )


def check_runs(runs: Mapping[Path, Scenario], data_dir: str | Path | None) -> None:
    """Raises InputError if a finished run's surroundings have changed since.

    runs: scenarios by the folders that they were played into. Options are known to agree. Each
    data set is loaded once; models are not made, for they follow from options, data and code.
    """
    data: dict[str, str | None] = {}
    unrecorded = []
    for folder, scenario in runs.items():
        old = identity.read(folder)
        if old is None:
            unrecorded.append(folder)
            continue
        known = {**identity.surroundings(scenario), **_data(scenario, data_dir, data)}
        there = {key: value for key, value in old.items() if key in known}
        _refuse(folder, identity.compare(there, known))
    if unrecorded:
        warnings.warn(
            f"{len(unrecorded)} finished runs, {unrecorded[0]} among them, were played without a "
            "record of what they depend on, and were not compared with this study",
            stacklevel=2,
        )


def _data(
    scenario: Scenario, data_dir: str | Path | None, known: dict[str, str | None]
) -> dict[str, str]:
    """The digest of the scenario's data set, loaded if `known` has none; {} if it is not here."""
    from simfl.learn.datasets.given import data_digest

    options = scenario.learning
    if not isinstance(options, LearningOptions):
        return {}
    key = json.dumps([plain(options.dataset), options.data_dir, scenario.seed], default=str)
    if key not in known:
        known[key] = None
        with suppress(DataError):
            where = None if data_dir is None else Path(data_dir)
            known[key] = data_digest(dataset_of(scenario, where))
    found = known[key]
    return {} if found is None else {"data set": found}


def _refuse(folder: Path, differences: list[str]) -> None:
    if differences:
        raise InputError(
            f"{folder}: holds another run: {identity.worded(differences)}; undo that, or choose "
            "another folder"
        )


def warn_of_generators(folder: Path, scenario: Scenario, saved: Saved | None, done: bool) -> None:
    """Says that a run of generators, whose place no checkpoint keeps, is played from its start."""
    written = [process for process in scenario.process if not is_machine(process)]
    if written and saved is None and not done and identity.read(folder) is not None:
        warnings.warn(
            f"{folder}: is played again from its beginning, for no checkpoint can keep where "
            f"{kind_of(written[0])} waits; a process written as `next(state, world)` can "
            "be resumed",
            stacklevel=4,
        )


def finished(folder: Path) -> bool:
    """True if the run in the folder came to its own end."""
    return is_end(summary_of(folder).get("ended", ""))


def _code_alone(old: identity.Identity, new: identity.Identity) -> bool:
    keys = {key for key in (*old, *new) if old.get(key) != new.get(key)}
    return all(key.startswith("code of ") for key in keys)


def _check_unrecorded(folder: Path, scenario: Scenario, timing: bool, saved: Saved | None) -> None:
    """The same for a folder of an earlier simfl, which kept the options' hash alone."""
    mine = mark_of(scenario, timing)
    there = _marks(folder, isinstance(scenario.learning, TimingOptions), saved)
    for what, mark in there.items():
        if mark != mine:
            raise InputError(
                f"{folder}: its {what} is of another scenario ({mark}, not {mine}); resume with "
                "the one that it was started with"
            )
    if there:
        warnings.warn(
            f"{folder}: was begun without a record of its data, device classes, traces, code and "
            f"versions ({identity.FILE}); only its options were compared",
            stacklevel=2,
        )


def _marks(folder: Path, stated: bool, saved: Saved | None) -> dict[str, str]:
    """The scenario's mark as the folder's parts tell it.

    stated: nothing can be learnt.
    """
    found = {} if saved is None else {"checkpoint": str(saved[0]["scenario"])}
    if finished(folder):
        timing = not stated and not (folder / MODEL).exists()
        found["finished run"] = f"{summary_of(folder).get('scenario')}{'-timing' * timing}"
    return found
