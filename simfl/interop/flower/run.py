"""`simfl.flower.run`: plays one Flower app and gives its Result.

result = simfl.flower.run(server_app, client_app, "phones.toml")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from simfl.engine.playing import Progress
from simfl.errors import ScenarioError
from simfl.interop.flower import app as folders
from simfl.interop.flower.app import RunConfig, configured, read_config
from simfl.interop.flower.bridge.installed import installed
from simfl.interop.flower.options import App
from simfl.interop.flower.play import AppRun, Evaluate
from simfl.interop.flower.virtual_time.callers import code_of
from simfl.results.result import Result
from simfl.results.verify import plays_an_app
from simfl.scenario import Scenario, parse, reading

AnyScenario = Scenario | Mapping[str, Any] | str | Path
Overrides = Mapping[str, Any] | Iterable[str]


def run(
    server_app: Any,
    client_app: Any,
    scenario: AnyScenario,
    out: str | Path | None = None,
    *,
    run_config: RunConfig = None,
    evaluate: Evaluate | None = None,
    seed: int | None = None,
    data_dir: str | Path | None = None,
    workers: int = 1,
    verbose: bool = False,
    progress: Progress | None = None,
    **overrides: Any,
) -> Result:
    """A Flower app, played once on a scenario's fleet. Raises InputError, PluginError, Stalled.

    server_app, client_app: Flower's, unmodified.
    scenario: the app replaces its strategy, and its [learning] says what training costs.
    run_config: "k=v ...", a TOML file, several of these, or a table.
    evaluate: metrics of the app's model, given as Flower's ArrayRecord when [evaluate] says so; an
        app that evaluates by itself needs none.
    workers: processes that run the client app, ahead of time; results do not depend on it.
    verbose: shows Flower's log from INFO on.
    overrides: as for `simfl.run`, the options of `App` among them: `**{"strategy.epochs": 5}`. The
        rest is as for `simfl.run`.
    """
    whole = scenario_of(scenario, None, run_config, overrides, seed)
    flower, apps = installed(), nullcontext((server_app, client_app))
    code = code_of(flower.modules_of(server_app), whole.strategy.packages)
    played = AppRun(whole, apps, code, flower, evaluate, verbose, workers)
    return played(out, data_dir, progress)


def run_folder(
    app_dir: str | Path,
    scenario: AnyScenario,
    out: str | Path | None = None,
    *,
    run_config: RunConfig = None,
    seed: int | None = None,
    data_dir: str | Path | None = None,
    workers: int = 1,
    verbose: bool = False,
    progress: Progress | None = None,
    **overrides: Any,
) -> Result:
    """The app of a folder with its pyproject.toml, as `flwr run` takes it; else as `run`."""
    whole = scenario_of(scenario, app_dir, run_config, overrides, seed)
    return play_folder(whole, out, data_dir, verbose, progress, workers)


def play_folder(
    scenario: Scenario,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    verbose: bool = False,
    progress: Progress | None = None,
    workers: int = 1,
) -> Result:
    """Plays the app whose folder the scenario names: what `scenario_of` made, or a run folder's."""
    app = folders.read(scenario.strategy.folder)
    apps, code = folders.loaded(app), folders.code_of(app, scenario.strategy.packages)
    load = partial(folders.load_client, app.client)
    played = AppRun(scenario, apps, code, installed(), None, verbose, workers, load)
    return played(out, data_dir, progress)


def scenario_of(
    scenario: AnyScenario,
    app_dir: str | Path | None = None,
    run_config: RunConfig = None,
    overrides: Overrides = (),
    seed: int | None = None,
) -> Scenario:
    """The scenario with an app in the place of its strategy, if it has one. Raises InputError.

    Of the strategy stay `epochs` or `steps`: what it asks of a device, the app asks. The scenario
    of an earlier run keeps that run's config, except for what `run_config` changes.
    """
    table, path = _table(scenario)
    name, given = table.get("name", "scenario"), table.get("strategy", {})
    if "sweep" in table:
        raise ScenarioError(f"{name}: has a [sweep]; a Flower app is played one run at a time")
    if any(table.get("wire", {}).values()):
        raise ScenarioError(
            f"{name}: wire.down and wire.up do not apply to a Flower app, whose messages travel as "
            "it wrote them; remove [wire]"
        )
    options = dict(given) if isinstance(given, Mapping) else {}
    if not plays_an_app(options):
        kept = "steps" if options.get("steps") else "epochs"
        options = {kept: options[kept]} if kept in options else {}
    config = {**options.get("run_config", {}), **read_config(run_config)}
    if app_dir is not None:
        config = configured(folders.read(app_dir).config, config)
        options["folder"] = str(app_dir)
    kind = f"{App.__module__}:{App.__qualname__}"
    strategy = {**options, "kind": kind, "run_config": config}
    return parse({**table, "strategy": strategy}, overrides, seed, where=name, path=path)


def _table(scenario: AnyScenario) -> tuple[dict[str, Any], Path | None]:
    if isinstance(scenario, Scenario):
        return scenario.table(), scenario.path
    if isinstance(scenario, Mapping):
        return dict(scenario), None
    path = reading.find(scenario)
    return {"name": path.stem, **reading.read(path)}, path
