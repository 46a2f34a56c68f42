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

from simfl import session
from simfl.assemble import fleet_of, plan_of, workload_of
from simfl.clock.kernel import Kernel
from simfl.errors import PluginError, ScenarioError, SimflError
from simfl.fleet.memory import fitting
from simfl.interop.flower import folder as folders
from simfl.interop.flower.cargo import Cargo
from simfl.interop.flower.desk import Desk
from simfl.interop.flower.dialect import Model
from simfl.interop.flower.folder import RunConfig
from simfl.interop.flower.grid import RunOver, VirtualGrid
from simfl.interop.flower.installed import Installed, installed
from simfl.interop.flower.options import App
from simfl.interop.flower.stage import Generators, Stage
from simfl.interop.flower.watch import Watch, columns
from simfl.results.result import Result
from simfl.results.store import Store
from simfl.run import Progress, begin, play
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
    config = folders.told(run_config)
    whole = scenario_of(scenario, {"run_config": config}, overrides, seed)
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
    whole = of_folder(app_dir, scenario, run_config, overrides, seed)
    return play_scenario(whole, out, data_dir, verbose, progress)


def of_folder(
    app_dir: str | Path,
    scenario: AnyScenario,
    run_config: RunConfig = None,
    overrides: Overrides = (),
    seed: int | None = None,
) -> Scenario:
    """The scenario that plays the app of a folder. Raises InputError."""
    folder = folders.read(app_dir)
    config = folders.configured(folder.config, folders.told(run_config))
    told = {"folder": str(app_dir), "run_config": config}
    return scenario_of(scenario, told, overrides, seed)


def play_scenario(
    scenario: Scenario,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    verbose: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Plays what `of_folder` made, or what an earlier run folder holds as its scenario."""
    apps = folders.loaded(folders.read(scenario.strategy.folder))
    return AppRun(scenario, apps, installed(), None, verbose)(out, data_dir, progress)


def scenario_of(
    scenario: AnyScenario,
    told: Mapping[str, Any],
    overrides: Overrides = (),
    seed: int | None = None,
) -> Scenario:
    """The scenario with the app in the place of its strategy, if it has one. Raises ScenarioError.

    Of the strategy stay `epochs` or `steps`: what it asks of a device, the app asks.
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
    if "simfl.interop.flower" not in str(options.get("kind")):
        options = {key: options[key] for key in ("epochs", "steps") if options.get(key)}
        if "steps" in options:
            options.pop("epochs", None)
    strategy = {**options, "kind": f"{App.__module__}:{App.__qualname__}", **told}
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
            store = Store(folder)
            told = None if progress is None else progress.update
            kernel = self._kernel(store, None if data_dir is None else Path(data_dir), told)

            def player() -> None:
                begin(self.scenario, store, kernel.server.fleet)
                self._play(kernel)

            play(kernel, player, store, self.scenario, progress)
            return Result(store.folder, store if folder is None else None)

    def _kernel(self, store: Store, data_dir: Path | None, told: Any) -> Kernel:
        whole, app, dialect = self.scenario, self.app, self.flower.dialect
        streams = Streams(whole.seed)
        cost: Any = workload_of(whole, streams, timing=True, data_dir=data_dir)
        fleet = fitting(fleet_of(whole, streams), cost.memory_bytes, whole.fleet.memory)
        lesson = Lesson(cost.flops, cost.batch_size)
        score = None if self.evaluate is None else self._score
        cargo = Cargo(app, dialect, streams, lesson, cost.examples, score)
        cargo.notes = {"app": app.folder, "flower": self.flower.version, **_warning(app)}
        work = {"epochs": app.epochs} if app.steps is None else {"steps": app.steps}
        desk = Desk(dialect, work, app.notice_s)
        plan = replace(plan_of(whole), save_every_s=inf, save_wall_s=inf)
        desk.kernel = Kernel(fleet, cargo, desk, streams, plan, store.append, told)
        return desk.kernel

    def _score(self, model: Model) -> dict[str, float]:
        assert self.evaluate is not None
        return columns(self.evaluate(self.flower.arrays(model)))

    def _play(self, kernel: Kernel) -> None:
        """The app from its first line to its last, or to the run's end."""
        stage = Stage(lambda: kernel.clock.now)
        desk: Any = kernel.strategy
        cargo: Any = kernel.workload
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
        params, version = kernel.server.published
        if isinstance(params, Model):
            kernel.server.published = (self.flower.params_of(params), version)


def _warning(app: App) -> dict[str, str]:
    if app.measured_gflops is None:
        return {}
    return {"not_reproducible": "training times were measured on this machine"}
