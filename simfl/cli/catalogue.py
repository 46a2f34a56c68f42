"""Commands about what there is to build with: devices, strategies, traces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simfl.cli import kinds
from simfl.cli.shared import DataDirOption, app, load
from simfl.files import put

if TYPE_CHECKING:
    from simfl.registry import Registry

traces = typer.Typer(help="Import traces of other formats, or fit a fleet to one.")
app.add_typer(traces, name="traces")

_TRACE_FORMATS = ("fedscale", "flash", "mahimahi", "csv", "json")


@app.command()
def devices(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A device or network class, or `measure`.", autocompletion=kinds.classes
        ),
    ] = None,
    scenario: Annotated[
        str, typer.Option("--model-of", metavar="SCENARIO", help="measure: the model to train.")
    ] = "quickstart",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="measure: class to write.")
    ] = None,
    as_toml: Annotated[
        bool, typer.Option("--toml", help="Print the class's file, to be changed and saved.")
    ] = False,
    data_dir: DataDirOption = None,
) -> None:
    """List device and network classes, show one with its sources, or measure this machine."""
    if name == "measure":
        _measure(scenario, out, data_dir)
        return
    from simfl.cli import console
    from simfl.fleet.catalogue import (
        catalogue_dirs,
        class_files,
        list_classes,
        load_class,
        quantities,
    )

    dirs, screen = catalogue_dirs(Path()), console.out()
    if name is None:
        listed = [(entry.kind, entry.name, entry.about) for entry in list_classes(dirs)]
        screen.print(console.table(("kind", "name", "about"), listed))
        return
    if as_toml:
        print(class_files(name, dirs)[0].read_text("utf-8"), end="")
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

    text = to_toml(measured(load(scenario, None, None), data_dir))
    if out is None:
        print(text, end="")
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    put(out, text.encode())
    print(f"wrote {out}; a scenario beside the folder `devices` names it {out.stem}")


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:g} to {high:g}"


@app.command()
def scenarios(
    name: Annotated[
        str | None, typer.Argument(help="A shipped scenario.", autocompletion=kinds.scenarios)
    ] = None,
    as_toml: Annotated[
        bool, typer.Option("--toml", help="Print its file, to be changed and saved.")
    ] = False,
) -> None:
    """List the shipped scenarios, or show one."""
    from simfl.cli import console
    from simfl.scenario import load as load_scenario
    from simfl.scenario.reading import find, read_about, shipped_names, standalone

    screen = console.out()
    if name is None:
        rows = [(one, read_about(find(one))) for one in shipped_names()]
        screen.print(console.table(("scenario", "what it shows"), rows))
        return
    path = find(name)
    if as_toml:
        print(standalone(path), end="")
        return
    screen.print(f"{name}: {read_about(path)}", style="bold", markup=False)
    print(load_scenario(path, trusted=False).to_toml(), end="")


@app.command()
def strategies(
    name: Annotated[
        str | None, typer.Argument(help="A strategy.", autocompletion=kinds.strategies)
    ] = None,
) -> None:
    """List the strategies, or show one with its options, their bounds and defaults."""
    from simfl.strategy import STRATEGIES

    _show_parts(STRATEGIES, name)


@app.command()
def processes(
    name: Annotated[
        str | None, typer.Argument(help="A process.", autocompletion=kinds.processes)
    ] = None,
) -> None:
    """List the processes of the world, or show one with its options, bounds and defaults."""
    from simfl.world import PROCESSES

    _show_parts(PROCESSES, name)


def _show_parts(registry: Registry, name: str | None) -> None:
    """The parts of a registry, or one of them with its options."""
    from simfl.cli import console
    from simfl.scenario.schema import first_line, options_of

    screen = console.out()
    if name is None:
        parts = [(kind, registry.get(kind)) for kind in registry.names()]
        rows = [(kind, first_line(part), getattr(part, "reference", "")) for kind, part in parts]
        screen.print(console.table(("kind", "what it does", "reference"), rows))
        return
    part = registry.get(name)
    screen.print(f"{name}: {first_line(part)}", style="bold", markup=False)
    screen.print(getattr(part, "reference", ""), markup=False)
    options = [(option.name, option.type, option.default) for option in options_of(part)]
    screen.print(console.table(("option", "type", "default"), options))


@traces.command("import")
def import_trace(
    kind: Annotated[str, typer.Argument(metavar="FORMAT", help=", ".join(_TRACE_FORMATS))],
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT.parquet")],
    up: Annotated[Path | None, typer.Option(help="mahimahi: packets of the way up.")] = None,
    bin_s: Annotated[float | None, typer.Option(min=0.01, help="mahimahi: seconds a bin.")] = None,
    hold: Annotated[
        str | None, typer.Option(help="csv, json: a rate holds backward (default) or forward.")
    ] = None,
    period_s: Annotated[
        float | None,
        typer.Option(help="csv, json: sessions repeat after so long (inf: never); default: days."),
    ] = None,
    inference_flops: Annotated[
        float | None, typer.Option(min=1.0, help="fedscale: FLOP of what was timed.")
    ] = None,
) -> None:
    """Turn a foreign trace into one of simfl's: Parquet, as docs/traces.md describes it."""
    from simfl.interop.traces import import_trace as imported

    options = {
        "up": up,
        "bin_s": bin_s,
        "hold": hold,
        "period_s": period_s,
        "inference_flops": inference_flops,
    }
    given = {name: value for name, value in options.items() if value is not None}
    print(imported(kind, file, out, **given))


@app.command()
def calibrate(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="Phases of tasks: CSV or JSON lines.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The scenario to write.")
    ],
    down_bytes: Annotated[
        float | None, typer.Option(help="Bytes of a message down, if the log does not say.")
    ] = None,
    up_bytes: Annotated[
        float | None, typer.Option(help="Bytes of a message up, if the log does not say.")
    ] = None,
    deployment: Annotated[
        str, typer.Option(help="Loops of the pilot, such as flower-1.42; empty: none.")
    ] = "",
) -> None:
    """Fit a fleet to the log of a pilot, write the scenario, and say how well it fits."""
    from simfl.cli import console
    from simfl.interop.pilots.phases import read_phases
    from simfl.interop.pilots.written import pilot

    text, judged = pilot(read_phases(log), log.name, down_bytes, up_bytes, deployment)
    out.parent.mkdir(parents=True, exist_ok=True)
    put(out, text.encode())
    rows = [
        (
            one.name,
            str(one.devices),
            str(one.tasks),
            f"{one.measured_s:.2f} s",
            f"{one.fitted_s:.2f} s" if one.tasks else "-",
            f"{one.error:+.1%}" if one.tasks else "-",
            f"{one.distance:.2f}",
        )
        for one in judged
    ]
    heads = ("group", "devices", "tasks kept aside", "measured", "fitted", "error", "distance")
    console.out().print(console.table(heads, rows))
    print("fitted to every second task of a device and judged on the others; distance: of training")
    print("times from a log-normal law (Kolmogorov-Smirnov)")
    unjudged = [one.name for one in judged if not one.tasks]
    if unjudged:
        print(f"one task a device says nothing of the fit: {', '.join(unjudged)} is not judged")
    print(f"wrote {out}, fitted to all tasks")


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
