"""One run as a job: what travels to a worker, and how the worker plays it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simfl.results.summary import HELD

#: Says which job ended, and why it failed, or "", or HELD: another process is playing the run.
Ended = tuple[int, str]


@dataclass(frozen=True)
class Job:
    """A run as it travels to a worker: tables, objects that no file names, and paths."""

    table: dict[str, Any]
    path: Path | None
    folder: Path
    data_dir: str | None
    tags: Mapping[str, str] = field(default_factory=dict)  #: the run's labels, for callbacks
    memory_gb: float | None = None  #: that the run may fill


def play(job: Job) -> str:
    """Plays one job into its folder; returns why it failed, or "", or HELD."""
    from simfl.engine.run import run
    from simfl.errors import HeldError
    from simfl.scenario import parse

    try:
        scenario = parse(job.table, path=job.path)
        run(scenario, job.folder, data_dir=job.data_dir, resume=True, progress=False,
            tags=job.tags, memory_gb=job.memory_gb)  # fmt: skip
    except HeldError:
        return HELD
    except (Exception, SystemExit) as error:  # what a plug-in raises must not end the study
        return f"{type(error).__name__}: {error}"
    return ""
