"""One Flower app in, one Result out.

    result = simfl.flower.run(server_app, client_app, "phones.toml")

Kernel, fleet, links and tables are those of any run; the app stands where a strategy stands. It
runs on this thread and calls its grid, which plays the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from simfl.clock.kernel import Kernel
from simfl.engine import session
from simfl.engine.build import fleet_of, plan_of, workload_of
from simfl.engine.run import Progress, begin, play
from simfl.errors import PluginError, ScenarioError, SimflError
from simfl.fleet.memory import fitting
from simfl.interop.flower import app as folders
from simfl.interop.flower.app import RunConfig
from simfl.interop.flower.grid import RunOver, VirtualGrid
from simfl.interop.flower.hooks import Watch, columns
from simfl.interop.flower.installed import Installed, installed
from simfl.interop.flower.options import App
from simfl.interop.flower.protocol import Model
from simfl.interop.flower.strategy import Desk
from simfl.interop.flower.virtual_time import Generators, Stage
from simfl.interop.flower.workload import Cargo
from simfl.results.result import Result
from simfl.results.store import Store
from simfl.results.verify import plays_an_app
from simfl.scenario import Scenario, parse, reading
from simfl.strategy.base import Lesson
from simfl.streams import Streams

Apps = AbstractContextManager[tuple[Any, Any]]
AnyScenario = Scenario | Mapping[str, Any] | str | Path
Overrides = Mapping[str, Any] | Iterable[str]
Evaluate = Callable[[Any], Mapping[str, Any]]


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
    verbose: bool = False,
    progress: Progress | None = None,
    **overrides: Any,
) -> Result:
    """A Flower app, played once on a scenario's fleet. Raises InputError, PluginError, Stalled.

    server_app, client_app: Flower's, unmodified. scenario: the app replaces its strategy, and its
    [learning] says what training costs. run_config: "k=v ..." or a table. evaluate: metrics of the
    app's model, given as Flower's ArrayRecord when [evaluate] says so; an app that evaluates by
    itself needs none. verbose: shows Flower's log from INFO on. overrides: as for `simfl.run`, the
    options of `App` among them: `**{"strategy.epochs": 5}`. The rest is as for `simfl.run`.
    """
    whole = scenario_of(scenario, None, run_config, overrides, seed)
    apps = nullcontext((server_app, client_app))
    return AppRun(whole, apps, installed(), evaluate, verbose)(out, data_dir, progress)


def run_folder(
    app_dir: str | Path,
    scenario: AnyScenario,
    out: str | Path | None = None,
    *,
    run_config: RunConfig = None,
    seed: int | None = None,
    data_dir: str | Path | None = None,
    verbose: bool = False,
    progress: Progress | None = None,
    **overrides: Any,
) -> Result:
    """The app of a folder with its pyproject.toml, as `flwr run` takes it; else as `run`."""
    whole = scenario_of(scenario, app_dir, run_config, overrides, seed)
    return play_folder(whole, out, data_dir, verbose, progress)


def play_folder(
    scenario: Scenario,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    verbose: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Plays the app whose folder the scenario names: what `scenario_of` made, or a run folder's."""
    apps = folders.loaded(folders.read(scenario.strategy.folder))
    return AppRun(scenario, apps, installed(), None, verbose)(out, data_dir, progress)


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
    config = {**options.get("run_config", {}), **folders.told(run_config)}
    if app_dir is not None:
        config = folders.configured(folders.read(app_dir).config, config)
        options["folder"] = str(app_dir)
    kind = f"{App.__module__}:{App.__qualname__}"
    strategy = {**options, "kind": kind, "run_config": config}
    return parse({**table, "strategy": strategy}, overrides, seed, where=name, path=path)


def _table(scenario: AnyScenario) -> tuple[dict[str, Any], Path | None]:
    if isinstance(scenario, Scenario):
        return scenario.resolved(), scenario.path
    if isinstance(scenario, Mapping):
        return dict(scenario), None
    path = reading.find(scenario)
    return {"name": path.stem, **reading.read(path)}, path


class AppRun:
    """The parts of one run, put together and played once."""

    def __init__(
        self,
        scenario: Scenario,
        apps: Apps,
        flower: Installed,
        evaluate: Evaluate | None,
        verbose: bool,
    ) -> None:
        self.scenario, self.apps, self.flower = scenario, apps, flower
        self.evaluate, self.verbose = evaluate, verbose
        self.app: App = scenario.strategy

    def __call__(
        self, out: str | Path | None, data_dir: str | Path | None, progress: Progress | None
    ) -> Result:
        folder = None if out is None else Path(out)
        with session.alone(folder):
            whole, streams = self.scenario, Streams(self.scenario.seed)
            cost: Any = workload_of(
                whole, streams, timing=True, data_dir=None if data_dir is None else Path(data_dir)
            )
            fleet = fitting(fleet_of(whole, streams), cost.memory_bytes, whole.fleet.memory)
            store = Store(folder)
            told = None if progress is None else progress.update
            cargo, desk = self._cargo(streams, cost), self._desk()
            plan = replace(plan_of(whole), save_every_s=inf, save_wall_s=inf)
            desk.kernel = Kernel(fleet, cargo, desk, streams, plan, store.append, told)

            def player() -> None:
                begin(whole, store, fleet)
                self._play(desk.kernel, desk, cargo)

            play(desk.kernel, player, store, whole, progress)
            return Result(store.folder, store if folder is None else None)

    def _cargo(self, streams: Streams, cost: Any) -> Cargo:
        lesson = Lesson(cost.flops, cost.batch_size)
        score = None if self.evaluate is None else self._score
        cargo = Cargo(self.app, self.flower.dialect, streams, lesson, cost.examples, score)
        cargo.notes = {"app": self.app.folder, "flower": self.flower.version}
        if self.app.measured_gflops is not None:
            marked = {"not_reproducible": "training times were measured on this machine"}
            cargo.notes = {**cargo.notes, **marked}
        return cargo

    def _desk(self) -> Desk:
        app = self.app
        work = {"epochs": app.epochs} if app.steps is None else {"steps": app.steps}
        return Desk(self.flower.dialect, work, app.notice_s)

    def _score(self, model: Model) -> dict[str, float]:
        assert self.evaluate is not None
        return columns(self.evaluate(self.flower.arrays(model)))

    def _play(self, kernel: Kernel, desk: Desk, cargo: Cargo) -> None:
        """The app from its first line to its last, or to the run's end."""
        stage = Stage(lambda: kernel.clock.now)
        grid = VirtualGrid(kernel, desk, self.flower.dialect, stage)
        watch = Watch(grid, self.flower.model_of, self.flower.answered)
        kernel.begin()
        with (
            Generators().seeded(Streams(self.scenario.seed).integer("flower server")),
            self.flower.quiet(self.verbose),
            stage.set(self.flower.clocks, self.flower.dates),
            self.apps as (server_app, client_app),
            self.flower.on_the_grid(grid, watch) as face,
            stage.reach(self.flower.modules_of(server_app)),
        ):
            cargo.client, cargo.reseed = client_app, stage.generators.lend
            context = self.flower.dialect.context(0, -1, 0, self.app.run_config)
            try:
                server_app(face, context)
            except RunOver:
                pass
            except SimflError:
                raise
            except Exception as error:
                where = f"the server app at t = {grid.now_s:g} s, version {grid.version}"
                raise PluginError(f"{where}, failed: {error!r}") from error
        if grid.failure is not None:
            raise grid.failure
        kernel.finish("app ended")
        model, version = kernel.server.published
        params = self.flower.params_of(model) if isinstance(model, Model) else None
        if params is not None:
            kernel.server.published = (params, version)
