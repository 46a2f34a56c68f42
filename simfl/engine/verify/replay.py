"""The only check of what was learnt: the run is played again, and its digest compared."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from simfl.engine import run as engine
from simfl.engine.playing import Progress
from simfl.results.result import Result
from simfl.results.tables import SCENARIO
from simfl.results.verify import Check, checked
from simfl.results.verify.subject import Unchecked, plays_an_app
from simfl.scenario import TimingOptions, load

LAW = "played again, it has the same digest"

#: Plays a Flower app's folder again: (scenario, run folder, data folder) -> Result.
PlaysApp = Callable[..., Result]


def replayed(
    run: Result,
    data_dir: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
    app: PlaysApp | None = None,
) -> Check:
    """Plays the scenario of a run folder again, code that it names included, and compares.

    app: what plays a Flower app, if the scenario names one.
    """
    return checked(LAW, lambda run: _differs(run, data_dir, workers, progress, app), run)


def _differs(
    run: Result,
    data_dir: Path | None,
    workers: int,
    progress: Progress | None,
    app: PlaysApp | None,
) -> str | None:
    if not run.finished:
        raise Unchecked("the run is unfinished")
    why = str(run.summary.get("ended", ""))
    if why in ("wall_s", "interrupted") or why.startswith("failed: "):
        raise Unchecked(f"the run ended by {why!r}, which is this machine's affair")
    if run.summary.get("not_reproducible"):
        raise Unchecked(str(run.summary["not_reproducible"]))
    scenario = load(run.folder / SCENARIO)
    with tempfile.TemporaryDirectory(prefix="simfl-replay-") as folder:
        if plays_an_app(run.scenario.get("strategy", {})):
            if app is None or not run.scenario["strategy"].get("folder"):
                raise Unchecked("the Flower app is not in a folder of its own")
            again = app(scenario, folder, data_dir=data_dir, progress=progress)
        else:
            timing = run.params is None and not isinstance(scenario.learning, TimingOptions)
            again = engine.run(
                scenario, folder, timing=timing, workers=workers, data_dir=data_dir,
                progress=progress,
            )  # fmt: skip
        noted, found = run.summary.get("digest"), again.digest
    return None if noted == found else f"the summary says {noted}, playing it again gives {found}"
