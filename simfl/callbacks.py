"""Callbacks: where a run's evaluations go while it lives, beside its own tables.

    [[callbacks]]
    kind = "csv"                          # or tensorboard, mlflow, wandb, "package.module:Class"

    simfl.run("quickstart", callbacks=[simfl.callbacks.TensorBoard("logs"), print])

A callback is opened once for each run and gives what is called with every evaluation: its row has
the columns of `evaluations`, all metrics among them, and the age of what was used so far. A plain
function of such a row will do. Callbacks watch: no result depends on them, and one that fails is
warned about and left out for the rest of the run.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

from simfl.errors import InputError, first_line
from simfl.registry import Registry

CALLBACKS = Registry(
    "callback",
    "simfl.callbacks",
    {
        "csv": "simfl.callbacks:CSV",
        "tensorboard": "simfl.callbacks:TensorBoard",
        "mlflow": "simfl.callbacks:MLflow",
        "wandb": "simfl.callbacks:WandB",
    },
)

Row = Mapping[str, float]

#: Columns of a row that are no metrics.
COUNTERS = ("time_s", "version", "tasks_ended", "down_bytes", "up_bytes")


@dataclass(frozen=True)
class RunInfo:
    """Passed to a callback: the run's name, folder (None: temporary) and resolved scenario.

    tags: study, variant and seed of a run; the seed alone of a run by itself.
    resumed: it goes on from a checkpoint, and evaluations since then come again.
    """

    name: str
    folder: Path | None
    scenario: Mapping[str, Any]
    tags: Mapping[str, str] = field(default_factory=dict)
    resumed: bool = False

    @property
    def words(self) -> str:
        """`study/variant/seed` as far as they are known, for folders and names of runs."""
        known = [self.tags[key] for key in ("study", "variant") if key in self.tags]
        seed = self.tags.get("seed")
        return "/".join([*(known or [self.name]), *([f"seed{seed}"] if seed else [])])


class Log(Protocol):
    """One run's log."""

    def evaluation(self, row: Row) -> None: ...

    def close(self, summary: Mapping[str, Any]) -> None: ...


class Callback(Protocol):
    """Opens a log for each run. Raises InputError if it cannot."""

    def open(self, run: RunInfo) -> Log: ...


@dataclass(frozen=True)
class CSV:
    """A row for each evaluation in one file. path: default log.csv in the run folder."""

    path: str | None = None

    def open(self, run: RunInfo) -> Log:
        path = Path(self.path) if self.path else (run.folder or Path()) / "log.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        goes_on = path.exists() and (run.resumed or bool(self.path))
        return _CSVLog(path.open("a" if goes_on else "w", newline=""), run.tags, not goes_on)


@dataclass
class _CSVLog:
    file: TextIO
    tags: Mapping[str, str]
    headless: bool
    writer: Any = None

    def evaluation(self, row: Row) -> None:
        whole = {**self.tags, **row}
        if self.writer is None:
            self.writer = csv.DictWriter(self.file, list(whole), extrasaction="ignore")
            if self.headless:
                self.writer.writeheader()
        self.writer.writerow(whole)
        self.file.flush()

    def close(self, summary: Mapping[str, Any]) -> None:
        self.file.close()


@dataclass(frozen=True)
class TensorBoard:
    """Scalars by version, stamped with virtual time. folder: default tensorboard in the run folder.

    In a folder of one's own, runs lie under study/variant/seed.
    """

    folder: str | None = None

    def open(self, run: RunInfo) -> Log:
        summary = _library("tensorboard.summary", "tensorboard")
        own = (run.folder or Path()) / "tensorboard"
        return _TensorBoardLog(
            summary.Writer(str(Path(self.folder) / run.words if self.folder else own))
        )


@dataclass
class _TensorBoardLog:
    writer: Any

    def evaluation(self, row: Row) -> None:
        for name in metrics_of(row):
            self.writer.add_scalar(name, row[name], int(row["version"]), wall_time=row["time_s"])
        self.writer.flush()

    def close(self, summary: Mapping[str, Any]) -> None:
        self.writer.close()


@dataclass(frozen=True)
class MLflow:
    """A run of MLflow with the scenario as parameters. uri: of the tracking server or folder."""

    experiment: str = "simfl"
    uri: str | None = None

    def open(self, run: RunInfo) -> Log:
        mlflow = _library("mlflow", "mlflow")
        client = mlflow.MlflowClient(self.uri)
        found = client.get_experiment_by_name(self.experiment)
        key = found.experiment_id if found else client.create_experiment(self.experiment)
        made = client.create_run(key, tags=dict(run.tags), run_name=run.words)
        for name, value in flat(run.scenario).items():
            client.log_param(made.info.run_id, name, str(value)[:500])
        return _MLflowLog(client, made.info.run_id)


@dataclass
class _MLflowLog:
    client: Any
    run: str

    def evaluation(self, row: Row) -> None:
        for name in (*metrics_of(row), "time_s"):
            self.client.log_metric(self.run, name, float(row[name]), step=int(row["version"]))

    def close(self, summary: Mapping[str, Any]) -> None:
        ended = str(summary.get("ended", ""))
        failed = not ended or ended.startswith(("failed", "interrupted"))
        self.client.set_terminated(self.run, "FAILED" if failed else "FINISHED")


@dataclass(frozen=True)
class WandB:
    """A run of Weights & Biases, grouped by study and variant.

    mode: online, offline or disabled.
    """

    project: str = "simfl"
    mode: str = "online"

    def open(self, run: RunInfo) -> Log:
        wandb = _library("wandb", "wandb")
        group = "/".join(run.tags[key] for key in ("study", "variant") if key in run.tags)
        return _WandBLog(
            wandb.init(
                project=self.project, name=run.words, group=group or None, mode=self.mode,
                config=flat(run.scenario), tags=[f"{k}:{v}" for k, v in run.tags.items()],
                reinit="create_new",
            )
        )  # fmt: skip


@dataclass
class _WandBLog:
    run: Any

    def evaluation(self, row: Row) -> None:
        self.run.log(dict(row), step=int(row["version"]))

    def close(self, summary: Mapping[str, Any]) -> None:
        self.run.finish()


@dataclass
class _Function:
    """A plain function as a log; its rows carry the tags too."""

    function: Callable[[Mapping[str, Any]], Any]
    tags: Mapping[str, str]

    def evaluation(self, row: Row) -> None:
        self.function({**self.tags, **row})

    def close(self, summary: Mapping[str, Any]) -> None:
        """Nothing is open."""


class Watchers:
    """The logs of one run. What fails is warned about once and heard of no more."""

    def __init__(self, callbacks: Iterable[Any], run: RunInfo) -> None:
        self._logs = {name: log for name, log in (_opened(one, run) for one in callbacks)}

    def __bool__(self) -> bool:
        return bool(self._logs)

    def evaluation(self, row: Row) -> None:
        """Tells every log of an evaluation."""
        for name, log in list(self._logs.items()):
            try:
                log.evaluation(row)
            except Exception as error:
                self._leave_out(name, error)

    def close(self, summary: Mapping[str, Any]) -> None:
        """Closes every log. summary: of the run, as far as it is known."""
        for name, log in list(self._logs.items()):
            try:
                log.close(summary)
            except Exception as error:
                self._leave_out(name, error)
        self._logs = {}

    def _leave_out(self, name: str, error: Exception) -> None:
        log = self._logs.pop(name)
        what = f"{type(error).__name__}: {first_line(error)}"
        warnings.warn(f"callback {name} failed and is left out: {what}", stacklevel=3)
        with suppress(Exception):
            log.close({})


def _opened(callback: Any, run: RunInfo) -> tuple[str, Log]:
    name = getattr(callback, "__name__", type(callback).__name__)
    if hasattr(callback, "open"):
        return f"{name} ({id(callback):x})", callback.open(run)
    if callable(callback):
        return f"{name} ({id(callback):x})", _Function(callback, run.tags)
    raise InputError(f"callback {callback!r}: expected an object with `open`, or a function")


def metrics_of(row: Row) -> list[str]:
    """The columns of a row that are metrics."""
    return [name for name in row if name not in COUNTERS]


def flat(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """A scenario's options by key path."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        inner = f"{above}{key}"
        found |= flat(value, f"{inner}.") if isinstance(value, Mapping) else {inner: value}
    return found


def _library(module: str, extra: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(f"callback: {extra} is not installed; install simfl[{extra}]") from error
