"""The parts of one run of a Flower app, put together and played once.

Kernel, fleet, links and tables are those of any run; the app stands where a strategy stands. It
runs on this thread and calls its grid, which plays the clock.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from math import inf
from pathlib import Path
from typing import Any

from simfl.clock.kernel import Kernel
from simfl.engine import session
from simfl.engine.build import fleet_of, plan_of, workload_of
from simfl.engine.loading import problem_of
from simfl.engine.playing import Progress, play
from simfl.engine.record import begin
from simfl.errors import InputError, PluginError, SimflError
from simfl.fleet.memory import fitting
from simfl.interop.flower.bridge.installed import Installed
from simfl.interop.flower.clients import Client, Clients, InPool, InProcess
from simfl.interop.flower.deployment.grid import DeployedGrid
from simfl.interop.flower.deployment.times import DeployedTimes
from simfl.interop.flower.grid import VirtualGrid
from simfl.interop.flower.hooks import Hooks
from simfl.interop.flower.metrics import Columns
from simfl.interop.flower.options import App
from simfl.interop.flower.protocol import Model
from simfl.interop.flower.strategy import AppStrategy
from simfl.interop.flower.virtual_time.callers import Code
from simfl.interop.flower.virtual_time.clock import VirtualTime
from simfl.interop.flower.virtual_time.generators import Generators
from simfl.interop.flower.virtual_time.threads import RunOver
from simfl.interop.flower.workload import AppWorkload
from simfl.results.result import Result
from simfl.results.store import Store
from simfl.scenario import Scenario
from simfl.strategy.base import LearningInfo
from simfl.streams import Streams
from simfl.units import counted

LOG = logging.getLogger("simfl.flower")

Apps = AbstractContextManager[tuple[Any, Any]]
Evaluate = Callable[[Any], Mapping[str, Any]]


class AppRun:
    """The parts of one run, put together and played once.

    apps: gives the server app and the client app.
    code: whose clock is virtual.
    workers: processes that run devices' code.
    load: gives the client app in each of them.
    """

    def __init__(
        self,
        scenario: Scenario,
        apps: Apps,
        code: Code,
        flower: Installed,
        evaluate: Evaluate | None,
        verbose: bool,
        workers: int = 1,
        load: Callable[[], Client] | None = None,
    ) -> None:
        self.scenario, self.apps, self.code, self.flower = scenario, apps, code, flower
        self.evaluate, self.verbose = evaluate, verbose
        self.workers, self.load = counted("workers", workers), load
        self.app: App = scenario.strategy
        self.columns = Columns(_PERCENT[self.app.accuracy])
        self.virtual_time = VirtualTime()
        flower.protocol.run_id = run_id_of(scenario)

    def __call__(
        self, out: str | Path | None, data_dir: str | Path | None, progress: Progress | None
    ) -> Result:
        folder = None if out is None else Path(out)
        data = None if data_dir is None else Path(data_dir)
        with session.alone(folder), self._loaded() as (server_app, client_app):
            with self.virtual_time.away():
                kernel, strategy, workload, store = self._parts(folder, data, progress)
            workload.clients = self._clients(client_app)
            workload.interrupt = kernel.interrupt
            workload.now_s = lambda: kernel.clock.now
            grid = self._grid(kernel, strategy, workload)

            def player() -> None:
                begin(self.scenario, store, kernel.server.fleet)
                self._play(grid, server_app)
                self._end(grid, kernel, workload)

            with self.virtual_time.away():
                play(kernel, player, store, self.scenario, progress, grid.interrupt)
            return Result(store.folder, store if folder is None else None)

    @contextmanager
    def _loaded(self) -> Iterator[tuple[Any, Any]]:
        """The apps, imported on the virtual clock, which holds until they have ended."""
        with (
            Generators().seeded(Streams(self.scenario.seed).integer("flower server")),
            self.flower.quiet(self.verbose),
            self.virtual_time.set(self.code, self.flower.dates),
            self.apps as apps,
            self.virtual_time.reach(self.code),
        ):
            yield apps

    def _parts(
        self, folder: Path | None, data: Path | None, progress: Progress | None
    ) -> tuple[Kernel, AppStrategy, AppWorkload, Store]:
        whole, streams = self.scenario, Streams(self.scenario.seed)
        cost: Any = workload_of(whole, problem_of(whole, streams, data), streams, timing=True)
        fleet = fitting(fleet_of(whole, streams), cost.memory_bytes, whole.fleet.memory)
        store = Store(folder)
        update = None if progress is None else progress.update
        workload, strategy = self._workload(streams, cost), self._strategy()
        plan = plan_of(whole)
        plan = replace(plan, save_every_s=inf, save_wall_s=min(plan.save_wall_s, _WRITE_S))
        kernel = strategy.kernel = Kernel(
            fleet, workload, strategy, streams, plan, store.append, update, whole.process
        )
        kernel.watchdog.FRUITLESS = sys.maxsize  # an app that polls makes a step of each look
        kernel.driver.costly = True
        self.virtual_time.now = lambda: kernel.clock.now
        if folder is not None:
            kernel.driver.save = partial(_write_on, kernel, store)
        return kernel, strategy, workload, store

    def _grid(self, kernel: Kernel, strategy: AppStrategy, workload: AppWorkload) -> VirtualGrid:
        parts = kernel, strategy, self.flower.protocol, self.virtual_time, workload, self.code
        if self.app.deployment is None:
            return VirtualGrid(*parts)
        times = DeployedTimes(self.app.deployment, kernel.server.fleet, Streams(self.scenario.seed))
        kernel.server.lifecycle.pace = workload.times = strategy.times = times
        if not self.app.deployment.pull_s:
            return VirtualGrid(*parts)
        return DeployedGrid(*parts, times)

    def _clients(self, client_app: Any) -> Clients:
        if self.workers > 1 and self.app.measured_gflops is not None:
            raise InputError(
                f"workers = {self.workers} and strategy.measured_gflops contradict each other: "
                "calls that run side by side cannot be timed; leave one of them out"
            )
        if self.workers < 2:
            return InProcess(client_app, self.virtual_time.generators.lend)
        load = self.load or partial(_same, client_app)
        return InPool(self.workers, load, [str(root) for root in self.code.roots])

    def _workload(self, streams: Streams, cost: Any) -> AppWorkload:
        info = LearningInfo(cost.flops, cost.batch_size)
        score = None if self.evaluate is None else self._score
        workload = AppWorkload(self.app, self.flower.protocol, streams, info, cost.examples, score)
        workload.notes = {"app": self.app.folder, "flower": self.flower.version}
        if self.app.measured_gflops is not None:
            marked = {"not_reproducible": "training times were measured on this machine"}
            workload.notes = {**workload.notes, **marked}
        return workload

    def _strategy(self) -> AppStrategy:
        app = self.app
        work = {"epochs": app.epochs} if app.steps is None else {"steps": app.steps}
        return AppStrategy(self.flower.protocol, work, app.notice_s)

    def _score(self, model: Model) -> dict[str, float]:
        assert self.evaluate is not None
        return self.columns(self.evaluate(self.flower.arrays(model)))

    def _play(self, grid: VirtualGrid, server_app: Any) -> None:
        """The app from its first line to its last, or to the run's end."""
        hooks = Hooks(
            grid, self.flower.model_of, self.flower.answered, self.columns, self.flower.model_from
        )
        grid.begin()
        with (
            self.flower.on_the_grid(grid, hooks) as face,
            grid.threads.scheduled(),
            self.virtual_time.present(),
        ):
            context = self.flower.protocol.context(0, -1, 0, self.app.run_config)
            try:
                server_app(face, context)
                grid.threads.finish()
                if grid.unseen:
                    LOG.warning("%s", _NO_VERSION.format(replies=grid.unseen))
            except RunOver:
                pass
            except SystemExit as error:
                if error.code:
                    raise PluginError(
                        f"{_where(grid)}, ended with sys.exit({error.code!r})"
                    ) from error
            except SimflError:
                raise
            except Exception as error:
                raise PluginError(f"{_where(grid)}, failed: {error!r}") from error
        if grid.failure is not None:
            raise grid.failure
        if self.scenario.stop.target and not hooks.seen and self.evaluate is None:
            LOG.warning("%s", _UNSEEN.format(target=dict(self.scenario.stop.target)))

    def _end(self, grid: VirtualGrid, kernel: Kernel, workload: AppWorkload) -> None:
        workload.ended_s = kernel.clock.now
        kernel.finish("app ended")
        model, version = kernel.server.published
        params = self.flower.params_of(model) if isinstance(model, Model) else None
        if params is not None:
            kernel.server.published = (params, version)
        if kernel.reason != "interrupted":
            workload.check()


def run_id_of(scenario: Scenario) -> int:
    """A number of 63 bits, so that its length in messages is always the same, for each run."""
    word = f"{scenario.hash} {scenario.seed}".encode()
    return 2**62 | int.from_bytes(blake2b(word, digest_size=8).digest()) >> 2


def _same(client: Client) -> Client:
    """The client app in a process to which it was sent."""
    return client


def _write_on(kernel: Kernel, store: Store) -> None:
    """What has happened so far is on disk: a run that is killed later leaves it."""
    kernel.ledger.flush()
    store.mark()


def _where(grid: VirtualGrid) -> str:
    return f"the server app at t = {grid.now_s:g} s, version {grid.version}"


#: Seconds of this machine after which what has happened is written to disk.
_WRITE_S = 10.0
_PERCENT = {"auto": None, "fraction": False, "percent": True}
_NO_VERSION = (
    "the app took {replies} train replies after its last version that was seen, and ended: the "
    "model that it made of them is not in this run; an app with a loop of its own gives it with "
    "simfl.flower.record(model=...)"
)
_UNSEEN = (
    "no evaluation of the app was seen, so its target {target} could not end the run; an app with "
    "a loop of its own says what it finds with simfl.flower.record(accuracy=...)"
)
