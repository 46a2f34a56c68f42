"""What commands share: the app, options that many have, scenarios as words name them."""

from __future__ import annotations

import json
import sys
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simfl.cli import kinds
from simfl.errors import InputError

if TYPE_CHECKING:
    from simfl.results import Result
    from simfl.scenario import Scenario

app = typer.Typer(
    name="simfl",
    help="The virtual-time laboratory for federated learning.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ScenarioArg = Annotated[
    str,
    typer.Argument(
        metavar="SCENARIO",
        help="A TOML file, or the name of a shipped scenario: see simfl scenarios.",
        autocompletion=kinds.scenarios,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Replace a value; repeatable."),
]
SeedOption = Annotated[int | None, typer.Option(help="Replace the seed.")]
DataDirOption = Annotated[Path | None, typer.Option(help="Folder of data sets.")]
TargetsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--target", metavar="METRIC=VALUE", help="What to reach, accuracy=0.8; repeatable."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]


def _version(wanted: bool) -> None:
    if wanted:
        from simfl import __version__

        print(f"simfl {__version__}")
        raise typer.Exit


@app.callback()
def top(
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error comes from.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """The virtual-time laboratory for federated learning."""


def load(
    path_or_name: str, overrides: list[str] | None, seed: int | None, trusted: bool = True
) -> Scenario:
    """The scenario that a command names, with its --set and --seed. Raises ScenarioError."""
    from simfl import scenario

    return scenario.load(path_or_name, overrides or [], seed, trusted=trusted)


def single(scenario: Scenario) -> None:
    """Raises InputError if the scenario describes many runs."""
    if scenario.sweep:
        keys = ", ".join(scenario.sweep)
        raise InputError(
            f"{scenario.path}: sweep describes many runs (over {keys}), not one; remove [sweep] "
            "and choose values with --set"
        )
    if scenario.tune:
        raise InputError(f"{scenario.path}: tune describes many runs, not one; use simfl study")


def run_folder(scenario: Scenario, out: Path | None, timing: bool, kind: str = "") -> Path:
    """Where the run goes. Raises InputError rather than overwrite another scenario's run."""
    from simfl.engine.checkpoints.resuming import check_options
    from simfl.results.summary import summary_of

    story = f"{scenario.name}-{kind}" if kind else scenario.name
    name = f"{story}-seed{scenario.seed}{'-timing' * timing}"
    folder = out or Path("runs") / name
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; --out takes a folder")
    if summary_of(folder):
        check_options(folder, scenario, timing)
    return folder


def targets_of(texts: list[str] | None) -> list[dict[str, float]]:
    """The targets that were given, in their order; none if there was none."""
    return [target_of(text) for text in texts or []]


def target_of(text: str) -> dict[str, float]:
    """The metric and value of --target. Raises InputError."""
    metric, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = nan
    if not isfinite(number):
        raise InputError(f"--target {text}: expected metric=number, as in accuracy=0.8")
    return {metric.strip(): number}


def tell(result: Result, folder: Path, as_json: bool, quiet: bool) -> None:
    """What a run was, in words or as JSON."""
    from simfl.cli import console
    from simfl.results import formatting

    summary = result.summary
    if as_json:
        print(json.dumps(summary, indent=2))
    elif not quiet:
        facts = {**formatting.headline(summary), "digest": result.digest, "folder": str(folder)}
        console.out().print(console.facts(facts))
        warnings = [*summary["unused_settings"], *summary["never_fired"]]
        if "not_reproducible" in summary:
            warnings.append(f"not reproducible: {summary['not_reproducible']}")
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)
