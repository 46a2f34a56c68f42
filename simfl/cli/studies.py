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
    from simfl.scenario import Scenario


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
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Play the I-th of N parts of the runs.")
    ] = None,
    wait: Annotated[
        bool, typer.Option(help="For runs that other processes play into the same folder.")
    ] = True,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Play nothing; say how long it would take here.")
    ] = False,
    target: TargetsOption = None,
    data_dir: DataDirOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no table.")] = False,
) -> None:
    """Run a scenario's sweep under many seeds; finished runs are not played again."""
    from simfl.cli import console
    from simfl.results.summary import HELD, NOT_PLAYED
    from simfl.studies.study import study as play

    whole, targets = load(scenario, set_, None), targets_of(target)
    chosen = None if seeds is None else _seeds(seeds)
    if estimate:
        print(takes(whole, chosen, workers, data_dir))
        return
    watch = None if quiet else console.StudyProgress(console.err())
    done = play(
        whole, seeds=chosen, out=out, workers=workers, backend=backend, address=address,
        shard=None if shard is None else _shard(shard), wait=wait, data_dir=data_dir,
        progress=watch,
    )  # fmt: skip
    if not quiet and done.results:
        _say_study(done, targets)
    others = [HELD, NOT_PLAYED] if shard or not wait else []  # for another process to play
    failed = done.failed[~done.failed["ended"].isin(others)]
    left = len(done.failed) - len(failed)
    if left and not quiet:
        print(f"{left} of {len(done.table)} runs are left to other processes")
    if len(failed):
        first = failed["ended"].iloc[0]
        raise SimflError(
            f"{len(failed)} of {len(done.table)} runs have no result, the first because it "
            f"{first}; those that failed or were not played are played when it is run again"
        )
    if not quiet:
        print(done.folder)


def takes(whole: Scenario, seeds: list[int] | None, workers: int, data_dir: Path | None) -> str:
    """How long a study takes this machine, from a trial of each variant, in words."""
    from simfl.results import formatting
    from simfl.studies.duration import TRIAL_S
    from simfl.studies.size import duration_of

    found = duration_of(whole, seeds=seeds, workers=workers, data_dir=data_dir)
    runs = list(found.runs_s.values())
    ends = [formatting.seconds(end) for end in (min(runs), max(runs))]
    each = ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
    return (
        "at most " * found.at_most + f"{formatting.seconds(found.seconds)} in all, {each} a run "
        f"(from a trial of {TRIAL_S:g} s of each variant)"
    )


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


def _shard(text: str) -> tuple[int, int]:
    """Part and parts of "2/8". Raises InputError."""
    number, slash, of = text.partition("/")
    if not slash or not number.strip().isdecimal() or not of.strip().isdecimal():
        raise InputError(f"--shard {shorten(text)}: expected a part of all, as in 2/8")
    return int(number), int(of)


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
