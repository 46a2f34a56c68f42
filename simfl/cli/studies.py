"""The command about many runs: study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simfl.cli.shared import (
    DataDirOption,
    ScenarioArg,
    SetOption,
    TargetsOption,
    app,
    load,
    targets_of,
)
from simfl.errors import InputError, SimflError, shorten

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from simfl.results.study import Study


@app.command()
def study(
    scenario: ScenarioArg,
    set_: SetOption = None,
    seeds: Annotated[
        str | None, typer.Option(help="As in 0..4 or 1,5,9; default: those swept, else 0..4.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Study folder; by default runs/NAME.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Runs at the same time.")] = 1,
    backend: Annotated[str, typer.Option(help="What plays the runs: local or ray.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster.")] = None,
    target: TargetsOption = None,
    data_dir: DataDirOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no table.")] = False,
) -> None:
    """Run a scenario's sweep under many seeds; finished runs are not played again."""
    from simfl.cli import console
    from simfl.studies.study import study as play

    whole, targets = load(scenario, set_, None), targets_of(target)
    watch = None if quiet else console.StudyProgress(console.err())
    done = play(
        whole, seeds=None if seeds is None else _seeds(seeds), out=out, workers=workers,
        backend=backend, address=address, data_dir=data_dir, progress=watch,
    )  # fmt: skip
    if not quiet and done.results:
        _say_study(done, targets)
    if len(done.failed):
        first = done.failed["ended"].iloc[0]
        raise SimflError(
            f"{len(done.failed)} of {len(done.table)} runs have no result, the first because it "
            f"{first}; those that failed or were not played are played when it is run again"
        )
    if not quiet:
        print(done.folder)


def _say_study(done: Study, targets: list[dict[str, float]]) -> None:
    """What was tuned, and what it cost to meet each target; default: that of the scenario."""
    from simfl.cli import console
    from simfl.results.stats import how_made, target_table

    screen = console.out()
    if done.tuning is not None:
        _say_table(screen, done.tuning.table())
    for wanted in targets or [done.target] * bool(done.target):
        found = done.at_target(None, **wanted)
        target = ", ".join(f"{metric} {value:g}" for metric, value in wanted.items())
        _say_table(screen, target_table(found), f"to {target}")
        screen.print(how_made(found, done.variants[0]), markup=False)
    if done.table["final_accuracy"].notna().any():
        _say_table(screen, done.scores(), "accuracy in per cent, mean ± sample standard deviation")


def _say_table(screen: Console, table: pd.DataFrame, title: str | None = None) -> None:
    from simfl.cli import console

    shown = table.reset_index()
    if title:
        screen.print(title, style="bold", markup=False)
    screen.print(console.table(list(shown), shown.to_numpy().tolist()))


#: Seeds of a study.
MOST_SEEDS = 100_000


def _seeds(text: str) -> list[int]:
    """Seeds of "0..4" (both included), "1,5,9", or both mixed."""
    found: list[int] = []
    try:
        for word in text.split(","):
            first, dots, last = word.partition("..")
            more = range(int(first), int(last) + 1) if dots else [int(first)]
            found += more[: MOST_SEEDS + 1]
    except (ValueError, OverflowError):
        given = shorten(text)
        raise InputError(f"--seeds {given}: expected seeds, as in 0..4 or 1,5,9") from None
    if len(found) > MOST_SEEDS:
        raise InputError(f"--seeds {shorten(text)}: expected at most {MOST_SEEDS:,} seeds")
    return found
