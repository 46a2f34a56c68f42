"""Commands about scenarios: run, validate, explain, schema, flower."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simfl.cli.shared import (
    DataDirOption,
    JsonOption,
    ScenarioArg,
    SeedOption,
    SetOption,
    app,
    load,
    run_folder,
    single,
    tell,
)

if TYPE_CHECKING:
    from simfl.scenario import Scenario


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
    backend: Annotated[str, typer.Option(help="Where they are: local or ray.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster.")] = None,
    memory_gb: Annotated[
        float | None,
        typer.Option(min=0.0, help="GB to fill before models that wait go to disk; default: half."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint of the run folder.")
    ] = False,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no summary.")] = False,
) -> None:
    """Run a scenario and write its run folder."""
    from simfl.cli import console
    from simfl.engine.run import run as play

    whole = load(scenario, set_, seed)
    single(whole)
    folder = run_folder(whole, out, timing)
    watch = console.progress(quiet or as_json)
    result = play(
        whole,
        folder,
        timing=timing,
        workers=workers,
        backend=backend,
        address=address,
        memory_gb=memory_gb,
        resume=resume,
        data_dir=data_dir,
        progress=watch,
    )
    tell(result, folder, as_json, quiet)


@app.command()
def validate(
    scenario: ScenarioArg,
    set_: SetOption = None,
    seed: SeedOption = None,
) -> None:
    """Check a scenario to the last key, without importing code that it names."""
    whole = load(scenario, set_, seed, trusted=False)
    print(f"{scenario}: valid ({whole.name}, {whole.fleet.devices} devices, hash {whole.hash})")
    if whole.sweep or whole.tune:
        print(_many(whole))
    for target in whole.foreign:
        print(f"would import {target}; its options were not checked")


@app.command()
def explain(
    scenario: ScenarioArg,
    set_: SetOption = None,
    seed: SeedOption = None,
    data_dir: DataDirOption = None,
    timing: Annotated[
        bool, typer.Option("--timing", help="The clock alone: loads no data and no model.")
    ] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Play its first seconds: how long will it take here?")
    ] = False,
) -> None:
    """Say in words and medians what a scenario will do."""
    from simfl.cli import console
    from simfl.engine.explain import explain as explained

    whole = load(scenario, set_, seed)
    explanation = explained(whole, data_dir, timing)
    screen = console.out()
    screen.print(explanation.title, style="bold", markup=False)
    if whole.sweep or whole.tune:
        screen.print(_many(whole), markup=False)
    screen.print(console.facts(explanation.facts | _takes(whole, data_dir, timing, estimate)))
    rows = [list(row.values()) for row in explanation.classes]
    screen.print(console.table(list(explanation.classes[0]), rows))


def _takes(
    scenario: Scenario, data_dir: Path | None, timing: bool, estimate: bool
) -> dict[str, str]:
    """How long the machine needs, if that is asked for."""
    if not estimate:
        return {}
    if scenario.sweep or scenario.tune:
        from simfl.cli.studies import takes

        return {"machine time": takes(scenario, None, 1, data_dir)}
    from simfl.results import formatting
    from simfl.studies.duration import TRIAL_S, machine_time

    found = machine_time(scenario, data_dir, timing=timing)
    text = "at most " * found.at_most + formatting.seconds(found.run_s)
    text += f", and {formatting.seconds(found.loading_s)} for loading"
    if found.share >= 1.0:
        return {"machine time": f"{text} (it was played to its end)"}
    played = formatting.share(found.share)
    return {"machine time": f"{text} (in {TRIAL_S:g} s of a trial {played} of it were played)"}


def _many(scenario: Scenario) -> str:
    """What a study of the scenario amounts to."""
    from simfl.results import formatting
    from simfl.studies.size import size_of

    size = size_of(scenario)
    line = f"a study of {size.variants} variants under {size.seeds} seeds: {size.runs} runs"
    if size.trials:
        line += f", after {size.trials} trials of {size.tuning_runs} runs at most"
    if size.longest_s is None:
        return f"{line}; without stop.after_s they may take any virtual time"
    return f"{line}; up to {formatting.seconds(size.longest_s)} of virtual time in all"


@app.command()
def schema() -> None:
    """Print the JSON Schema of scenarios, with the options of every part."""
    from simfl.scenario.schema import schema as whole

    print(json.dumps(whole(), indent=2))


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
            "--run-config",
            metavar="'K=V ...'|FILE",
            help="The app's own options, or a TOML file of them; repeatable.",
        ),
    ] = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; by default runs/NAME-APP-seedN.")
    ] = None,
    data_dir: DataDirOption = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that run the client app.")] = 1,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Flower's log.")] = False,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no summary.")] = False,
) -> None:
    """Run a Flower app, unmodified, on a scenario's fleet and the virtual clock."""
    from simfl.cli import console
    from simfl.interop.flower.run import play_folder, scenario_of

    whole = scenario_of(fleet, app_dir, run_config, set_ or [], seed)
    folder = run_folder(whole, out, timing=False, kind=app_dir.resolve().name)
    watch = console.progress(quiet or as_json)
    with redirect_stdout(sys.stderr if as_json else sys.stdout):  # apps print
        result = play_folder(whole, folder, data_dir, verbose, watch, workers)
    tell(result, folder, as_json, quiet)
