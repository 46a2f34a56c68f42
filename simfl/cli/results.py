"""Commands about finished runs and studies: compare, plot, report, export, verify."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simfl.cli import kinds
from simfl.cli.shared import DataDirOption, TargetsOption, app, targets_of
from simfl.errors import InputError, InvariantError, SimflError, did_you_mean
from simfl.files import put

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simfl.engine.verify.replay import PlaysApp
    from simfl.results.result import Result
    from simfl.results.verify import Check


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR...", help="Run folders.")],
    target: TargetsOption = None,
) -> None:
    """Lay runs side by side: time, versions and bytes to a target, staleness, waste."""
    from simfl.cli import console
    from simfl.results import open_run
    from simfl.results.compare import as_rich
    from simfl.results.compare import compare as compared

    targets = targets_of(target)
    with _reading(runs):
        seen = [open_run(run) for run in runs]
        for wanted in targets or [{}]:
            if len(targets) > 1:
                console.out().print(", ".join(f"{k} {v:g}" for k, v in wanted.items()))
            console.out().print(as_rich(compared(seen, wanted or None)))


@app.command()
def plot(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR... KIND",
            help="Run folders, or one study folder; then what to plot. Of runs: "
            f"{', '.join(kinds.RUN_PLOTS)}. Of a study: {', '.join(kinds.STUDY_PLOTS)}.",
            autocompletion=kinds.plots,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Picture; by default RUN_DIR/KIND.png.")
    ] = None,
) -> None:
    """Plot one run, several in one picture where the kind allows it, or a study."""
    from simfl.results import open_run
    from simfl.results.plots import PLOTS, STUDY_PLOTS
    from simfl.results.study import Study

    *folders, kind = words
    if kind not in PLOTS and kind not in STUDY_PLOTS:
        hint = did_you_mean(kind, [*PLOTS, *STUDY_PLOTS])
        raise InputError(f"{kind!r} is not a kind of plot {hint}")
    if not folders:
        raise InputError(f"plot {kind}: give at least one run folder before the kind")
    if kind in STUDY_PLOTS:
        _save(STUDY_PLOTS[kind](Study(folders[0])), output or Path(folders[0]) / f"{kind}.png")
        return
    if len(folders) > 1 and "runs" not in signature(PLOTS[kind]).parameters:
        raise InputError(f"plot {kind} shows one run at a time, not {len(folders)}")
    with _reading(folders):
        runs = [open_run(folder) for folder in folders]
        axes = PLOTS[kind](runs if len(runs) > 1 else runs[0])
        several = "-compared" * (len(folders) > 1)  # a comparison is not the run's own picture
        _save(axes, output or Path(folders[0]) / f"{kind}{several}.png")


def _save(axes: Axes, path: Path) -> None:
    known = axes.figure.canvas.get_supported_filetypes()
    kind = path.suffix.removeprefix(".").lower()
    if kind not in known:
        raise InputError(
            f"{path}: {path.suffix!r} is not a kind of picture {did_you_mean(kind, known)}"
        )
    held = io.BytesIO()
    axes.figure.savefig(held, format=kind, bbox_inches="tight")  # type: ignore[union-attr]
    path.parent.mkdir(parents=True, exist_ok=True)
    put(path, held.getvalue())
    print(path)


@app.command()
def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Run folders, or one study folder.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File; by default DIR/report.html.")
    ] = None,
    target: TargetsOption = None,
) -> None:
    """Write one HTML file with tables, figures and scenarios of runs or of a study."""
    from simfl.results import open_run
    from simfl.results.report import report as write
    from simfl.results.study import TABLE, Study

    study = len(folders) == 1 and (folders[0] / TABLE).is_file()
    wanted = targets_of(target)
    with _reading([] if study else folders):
        seen = Study(folders[0]) if study else [open_run(folder) for folder in folders]
        several = "-compared" * (len(folders) > 1)
        print(write(seen, output or folders[0] / f"report{several}.html", wanted))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A run folder.")],
    kind: Annotated[
        str,
        typer.Argument(help=f"{' or '.join(kinds.EXPORTS)}.", autocompletion=kinds.exports),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Default: trace.json or tensorboard.")
    ] = None,
) -> None:
    """Write a run for another viewer: a timeline for Perfetto, scalars for TensorBoard."""
    from simfl.results import open_run
    from simfl.results.export import EXPORTS

    if kind not in EXPORTS:
        raise InputError(f"{kind!r} is not a kind of export {did_you_mean(kind, EXPORTS)}")
    write, name = EXPORTS[kind]
    with _reading([run]):
        print(write(open_run(run), output or run / name))


@contextmanager
def _reading(folders: Sequence[str | Path]) -> Iterator[None]:
    """What goes wrong with a run folder that obeys its laws is a bug; with another, its damage."""
    try:
        yield
    except (SimflError, OSError):
        raise
    except Exception as error:
        from simfl.engine.verify import audit
        from simfl.results import open_run

        for folder in folders:
            broken = [check for check in audit(open_run(folder)) if check.wrong]
            if broken:
                raise InputError(
                    f"{folder}: holds what no run writes: {broken[0].law} ({broken[0].wrong})"
                ) from error
        raise


@app.command()
def verify(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR")],
    replay: Annotated[
        bool,
        typer.Option("--replay", help="Play the run again, its plug-ins too; compare digests."),
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that train a replay.")] = 1,
    data_dir: DataDirOption = None,
) -> None:
    """Check every law that a run must obey, and with --replay all that it says."""
    from simfl.engine.verify import audit
    from simfl.results import open_run

    run = open_run(run_dir)
    checks = audit(run)
    if replay:
        checks.append(_replayed(run, workers, data_dir))
    for check in checks:
        print(_line(check))
    broken = [f"{check.law} ({check.wrong})" for check in checks if check.wrong]
    if broken:
        raise InvariantError(f"{run_dir}: {'; '.join(broken)}")


def _replayed(run: Result, workers: int, data_dir: Path | None) -> Check:
    from simfl.cli import console
    from simfl.engine.verify import replayed

    app: PlaysApp | None = None
    if run.strategy.startswith("simfl.interop.flower"):
        from simfl.interop.flower.run import play_folder

        app = play_folder
    return replayed(run, data_dir, workers, console.progress(False), app)


def _line(check: Check) -> str:
    if check.unchecked:
        return f"unknown  {check.law} ({check.unchecked})"
    return f"{'broken' if check.wrong else 'holds':7}  {check.law}"
