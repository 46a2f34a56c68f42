"""The command line: thin. Exit codes: 0 done, 2 wrong input, 3 a law or a plug-in broke, 4 the
run can make no further progress, 130 interrupted.

Everything heavy is imported by the command that needs it, so that the others start at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from inspect import signature
from io import TextIOWrapper
from pathlib import Path
from traceback import print_exc
from typing import TYPE_CHECKING, Annotated

import typer

from simfl.errors import InputError, InvariantError, SimflError, did_you_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simfl.results import Result
    from simfl.scenario import Scenario

app = typer.Typer(
    name="simfl",
    help="The virtual-time laboratory for federated learning.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ScenarioArg = Annotated[
    str, typer.Argument(metavar="SCENARIO", help="A TOML file, or the name of a shipped scenario.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Replace a value; repeatable."),
]
SeedOption = Annotated[int | None, typer.Option(help="Replace the seed.")]
DataDirOption = Annotated[Path | None, typer.Option(help="Folder of data sets.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]


_TRACE_FORMATS = ("fedscale", "flash", "mahimahi", "csv", "json")


@app.callback()
def top(
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error comes from.")
    ] = False,
) -> None:
    """The virtual-time laboratory for federated learning."""


@app.command()
def run(
    scenario: ScenarioArg,
    set_: SetOption = None,
    seed: SeedOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; by default runs/NAME-seedN.")
    ] = None,
    timing: Annotated[bool, typer.Option("--timing", help="The same clock, no learning.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that train.")] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint of the run folder.")
    ] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no summary.")] = False,
) -> None:
    """Run a scenario and write its run folder."""
    from simfl import console
    from simfl.run import run as play

    whole = _load(scenario, set_, seed)
    _single(whole)
    folder = _run_folder(whole, out, timing)
    watch = console.progress(quiet or as_json)
    result = play(
        whole,
        folder,
        timing=timing,
        workers=workers,
        resume=resume,
        data_dir=data_dir,
        progress=watch,
    )
    _tell(result, folder, as_json, quiet)


def _tell(result: Result, folder: Path, as_json: bool, quiet: bool) -> None:
    """What a run was, in words or as JSON."""
    from simfl import console
    from simfl.results import say

    summary = result.summary
    if as_json:
        print(json.dumps(summary, indent=2))
    elif not quiet:
        told = {**say.headline(summary), "digest": result.digest, "folder": str(folder)}
        console.out().print(console.facts(told))
        warnings = [*summary["unused_settings"], *summary["never_fired"]]
        if "not_reproducible" in summary:
            warnings.append(f"not reproducible: {summary['not_reproducible']}")
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)


@app.command()
def validate(
    scenario: ScenarioArg,
    set_: SetOption = None,
    seed: SeedOption = None,
) -> None:
    """Check a scenario to the last key, without importing code that it names."""
    whole = _load(scenario, set_, seed, trusted=False)
    print(f"{scenario}: valid ({whole.name}, {whole.fleet.devices} devices, hash {whole.hash})")
    for target in whole.foreign:
        print(f"would import {target}; its options were not checked")


@app.command()
def explain(
    scenario: ScenarioArg,
    set_: SetOption = None,
    seed: SeedOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Say in words and medians what a scenario will do."""
    from simfl import console
    from simfl.explain import explain as told_of

    told = told_of(_load(scenario, set_, seed), data_dir)
    screen = console.out()
    screen.print(told.title, style="bold", markup=False)
    screen.print(console.facts(told.facts))
    rows = [list(row.values()) for row in told.classes]
    screen.print(console.table(list(told.classes[0]), rows))


@app.command()
def schema() -> None:
    """Print the JSON Schema of scenarios, with the options of every part."""
    from simfl.scenario.schema import schema as whole

    print(json.dumps(whole(), indent=2))


@app.command()
def devices(
    name: Annotated[
        str | None, typer.Argument(help="A device or network class, or `measure`.")
    ] = None,
    scenario: Annotated[
        str, typer.Option("--model-of", metavar="SCENARIO", help="measure: the model to train.")
    ] = "quickstart",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="measure: class to write.")
    ] = None,
    data_dir: DataDirOption = None,
) -> None:
    """List device and network classes, show one with its sources, or measure this machine."""
    if name == "measure":
        _measure(scenario, out, data_dir)
        return
    from simfl import console
    from simfl.fleet.catalogue import catalogue_dirs, list_classes, load_class, quantities

    dirs, screen = catalogue_dirs(Path()), console.out()
    if name is None:
        listed = [(entry.kind, entry.name, entry.about) for entry in list_classes(dirs)]
        screen.print(console.table(("kind", "name", "about"), listed))
        return
    entry = load_class(name, dirs)
    screen.print(f"{name}: {entry.about}", style="bold", markup=False)
    rows = [
        (key, f"{q.value:g}", _range(q.low, q.high), q.unit, q.mark, q.source)
        for key, q in quantities(entry).items()
    ]
    screen.print(console.table(("number", "value", "range", "unit", "mark", "source"), rows))
    print("marks: C computed from measurements, S stated by the source, D derived, M estimated")


def _measure(scenario: str, out: Path | None, data_dir: Path | None) -> None:
    """Writes this machine as a device class, or prints it."""
    from simfl.interop.measure import measured, to_toml

    text = to_toml(measured(_load(scenario, None, None), data_dir))
    if out is None:
        print(text, end="")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    print(f"wrote {out}; a scenario beside the folder `devices` names it {out.stem}")


traces = typer.Typer(help="Import traces of other formats, or fit a fleet to one.")
app.add_typer(traces, name="traces")


@traces.command("import")
def import_trace(
    kind: Annotated[str, typer.Argument(metavar="FORMAT", help=", ".join(_TRACE_FORMATS))],
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT.parquet")],
    up: Annotated[Path | None, typer.Option(help="mahimahi: packets of the way up.")] = None,
    bin_s: Annotated[float | None, typer.Option(min=0.01, help="mahimahi: seconds a bin.")] = None,
    inference_flops: Annotated[
        float | None, typer.Option(min=1.0, help="fedscale: FLOP of what was timed.")
    ] = None,
) -> None:
    """Turn a foreign trace into one of simfl's: Parquet, as docs/traces.md describes it."""
    from simfl.interop.traces import import_trace as imported

    options = {"up": up, "bin_s": bin_s, "inference_flops": inference_flops}
    given = {name: value for name, value in options.items() if value is not None}
    print(imported(kind, file, out, **given))


@traces.command("fit")
def fit_trace(
    file: Annotated[Path, typer.Argument(metavar="TRACE.parquet")],
) -> None:
    """Print the options of a [[fleet.group]] that spreads as a trace does."""
    import tomli_w

    from simfl.fleet.traces import read_trace
    from simfl.interop.fit import fit

    found = fit(read_trace(file))
    print(tomli_w.dumps({"fleet": {"group": [found.group]}}), end="")
    for name, distance in found.distances.items():
        print(f"# {name}: Kolmogorov-Smirnov distance {distance:g}")


@app.command()
def strategies(
    name: Annotated[str | None, typer.Argument(help="A strategy.")] = None,
) -> None:
    """List the strategies, or show one with its options, their bounds and defaults."""
    from simfl import console
    from simfl.scenario.schema import first_line, options_of
    from simfl.strategy import STRATEGIES

    screen = console.out()
    if name is None:
        parts = [(kind, STRATEGIES.get(kind)) for kind in STRATEGIES.names()]
        rows = [(kind, first_line(part), getattr(part, "reference", "")) for kind, part in parts]
        screen.print(console.table(("kind", "what it does", "reference"), rows))
        return
    _reach_here()
    part = STRATEGIES.get(name)
    screen.print(f"{name}: {first_line(part)}", style="bold", markup=False)
    screen.print(getattr(part, "reference", ""), markup=False)
    options = [(option.name, option.type, option.default) for option in options_of(part)]
    screen.print(console.table(("option", "type", "default"), options))


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
    target: Annotated[
        str | None, typer.Option(help="What to reach; default: the scenario's [stop] target.")
    ] = None,
    data_dir: DataDirOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no table.")] = False,
) -> None:
    """Run a scenario's sweep under many seeds; finished cells are not played again."""
    from simfl import console
    from simfl.results.stats import target_table
    from simfl.study import study as play

    whole = _load(scenario, set_, None)
    watch = None if quiet else console.Cells(console.err())
    done = play(
        whole, seeds=None if seeds is None else _seeds(seeds), out=out, workers=workers,
        backend=backend, address=address, data_dir=data_dir, progress=watch,
    )  # fmt: skip
    wanted = _target(target) if target else done.target
    if wanted and not quiet:
        found = target_table(done.at_target(None, **wanted)).reset_index()
        console.out().print(console.table(list(found), found.to_numpy().tolist()))
    if len(done.failed):
        raise SimflError(f"{len(done.failed)} of {len(done.table)} cells failed; run it again")
    if not quiet:
        print(done.folder)


@app.command()
def flower(
    app_dir: Annotated[
        Path, typer.Argument(metavar="APP_DIR", help="A Flower app: a folder with pyproject.toml.")
    ],
    fleet: Annotated[
        str,
        typer.Option("--fleet", metavar="SCENARIO", help="The scenario whose fleet it runs on."),
    ],
    run_config: Annotated[
        list[str] | None,
        typer.Option(
            "--run-config", metavar="'K=V ...'", help="The app's own options; repeatable."
        ),
    ] = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; by default runs/NAME-APP-seedN.")
    ] = None,
    data_dir: DataDirOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Flower's log.")] = False,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no summary.")] = False,
) -> None:
    """Run a Flower app, unmodified, on a scenario's fleet and the virtual clock."""
    from simfl import console
    from simfl.interop.flower.play import play_folder, scenario_of

    _reach_here()
    whole = scenario_of(fleet, app_dir, run_config, set_ or [], seed)
    folder = _run_folder(whole, out, timing=False, kind=app_dir.resolve().name)
    watch = console.progress(quiet or as_json)
    with redirect_stdout(sys.stderr if as_json else sys.stdout):  # apps print
        result = play_folder(whole, folder, data_dir, verbose, watch)
    _tell(result, folder, as_json, quiet)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR...", help="Run folders.")],
    target: Annotated[str | None, typer.Option(help="What to reach, as in accuracy=0.8.")] = None,
) -> None:
    """Lay runs side by side: time, versions and bytes to a target, staleness, waste."""
    from simfl import console
    from simfl.results import open_run
    from simfl.results.compare import as_rich
    from simfl.results.compare import compare as compared

    wanted = None if target is None else _target(target)
    with _reading(runs):
        console.out().print(as_rich(compared([open_run(run) for run in runs], wanted)))


@app.command()
def plot(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR... KIND", help="Run folders, or one study folder; then what to plot."
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
        _save(axes, output or Path(folders[0]) / f"{kind}.png")


@app.command()
def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Run folders, or one study folder.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File; by default DIR/report.html.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="What to reach, as in accuracy=0.8.")] = None,
) -> None:
    """Write one HTML file with tables, figures and scenarios of runs or of a study."""
    from simfl.results import open_run
    from simfl.results.report import report as write
    from simfl.results.study import TABLE, Study

    study = len(folders) == 1 and (folders[0] / TABLE).is_file()
    wanted = None if target is None else _target(target)
    with _reading([] if study else folders):
        seen = Study(folders[0]) if study else [open_run(folder) for folder in folders]
        print(write(seen, output or folders[0] / "report.html", wanted))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A run folder.")],
    kind: Annotated[str, typer.Argument(help="chrome-trace or tensorboard.")],
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
        from simfl.audit import audit
        from simfl.results import open_run

        for folder in folders:
            broken = [check for check in audit(open_run(folder)) if check.wrong]
            if broken:
                raise InputError(
                    f"{folder}: holds what no run writes: {broken[0].law} ({broken[0].wrong})"
                ) from error
        raise


def _save(axes: Axes, path: Path) -> None:
    axes.figure.savefig(path, bbox_inches="tight")  # type: ignore[union-attr]
    print(path)


@app.command()
def verify(run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR")]) -> None:
    """Replay a run's ledger and check every law that it must obey."""
    from simfl.audit import audit
    from simfl.results import open_run

    checks = audit(open_run(run_dir))
    for check in checks:
        print(f"{'broken' if check.wrong else 'holds ':6}  {check.law}")
    broken = [f"{check.law} ({check.wrong})" for check in checks if check.wrong]
    if broken:
        raise InvariantError(f"{run_dir}: {'; '.join(broken)}")


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code. Mistakes are told in one paragraph."""
    words = list(sys.argv[1:] if args is None else args)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a sign that a console lacks must end no run
    try:
        app(words, prog_name="simfl")
    except SystemExit as done:
        return int(done.code or 0)
    except Exception as error:
        if "--traceback" in words:
            print_exc()
        return _complain(error)
    return 0


def _complain(error: Exception) -> int:
    """Says what went wrong in one paragraph; returns the exit code."""
    if isinstance(error, SimflError):
        print(f"simfl: {error}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, OSError):  # a disk that is full, a folder that may not be written to
        print(f"simfl: {error}", file=sys.stderr)
        return InputError.exit_code
    if isinstance(error, MemoryError):
        print(f"simfl: not enough memory: {error}", file=sys.stderr)
        return SimflError.exit_code
    said = f"{type(error).__name__}: {error}"
    print(
        f"simfl: a bug, please report it ({said}); simfl --traceback shows where", file=sys.stderr
    )
    return SimflError.exit_code


def _load(
    path_or_name: str, overrides: list[str] | None, seed: int | None, trusted: bool = True
) -> Scenario:
    from simfl.scenario import load

    if trusted:
        _reach_here()
    return load(path_or_name, overrides or [], seed, trusted=trusted)


def _reach_here() -> None:
    """Lets dotted paths reach modules of the current folder, as `python -m` would."""
    if "" not in sys.path:
        sys.path.insert(0, "")


def _single(scenario: Scenario) -> None:
    """Raises InputError if the scenario describes many runs."""
    if scenario.sweep:
        keys = ", ".join(scenario.sweep)
        raise InputError(
            f"{scenario.path}: sweep describes many runs (over {keys}), not one; remove [sweep] "
            "and choose values with --set"
        )


def _run_folder(scenario: Scenario, out: Path | None, timing: bool, kind: str = "") -> Path:
    """Where the run goes. Raises InputError rather than overwrite another scenario's run."""
    from simfl.results.summary import summary_of

    story = f"{scenario.name}-{kind}" if kind else scenario.name
    name = f"{story}-seed{scenario.seed}{'-timing' * timing}"
    folder = out or Path("runs") / name
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; --out takes a folder")
    hash_there = summary_of(folder).get("scenario", scenario.hash)
    if hash_there != scenario.hash:
        raise InputError(
            f"{folder} holds a finished run of another scenario (hash {hash_there}, this one "
            f"is {scenario.hash}); choose another folder with --out, or remove that one"
        )
    return folder


def _seeds(text: str) -> list[int]:
    """Seeds of "0..4" (both included), "1,5,9", or both mixed."""
    found: list[int] = []
    try:
        for word in text.split(","):
            first, dots, last = word.partition("..")
            found += range(int(first), int(last) + 1) if dots else [int(first)]
    except ValueError:
        raise InputError(f"--seeds {text}: expected seeds, as in 0..4 or 1,5,9") from None
    return found


def _target(text: str) -> dict[str, float]:
    metric, _, value = text.partition("=")
    try:
        return {metric.strip(): float(value)}
    except ValueError:
        raise InputError(f"--target {text}: expected metric=number, as in accuracy=0.8") from None


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:g} to {high:g}"
