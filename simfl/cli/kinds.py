"""Names that commands take, known without loading what bears them: for help and completion."""

from __future__ import annotations

from pathlib import Path

#: Kinds of plots of runs, and of a study; those of `results.plots`, which brings matplotlib along.
RUN_PLOTS = (
    *("accuracy", "critical-path", "participation", "slowest-version", "staleness"),
    *("staleness-by-class", "staleness-ecdf", "staleness-heatmap", "staleness-ridges"),
    *("timeline", "traffic", "traffic-by-link", "waste"),
)
STUDY_PLOTS = (
    *("bands", "bands-apart", "importance", "pareto", "performance-profile", "time-to-target"),
    "tuning",
)

#: Kinds of exports of a run.
EXPORTS = ("chrome-trace", "tensorboard")


def scenarios(incomplete: str) -> list[str]:
    """Shipped scenarios, and files of the current folder, that begin so."""
    from simfl.scenario.reading import shipped_names

    here = [path.as_posix() for path in sorted(Path().glob(f"{incomplete}*.toml"))]
    return here + _of(shipped_names(), incomplete)


def strategies(incomplete: str) -> list[str]:
    """Strategies that begin so."""
    from simfl.strategy import STRATEGIES

    return _of(STRATEGIES.names(), incomplete)


def processes(incomplete: str) -> list[str]:
    """Processes of the world that begin so."""
    from simfl.world import PROCESSES

    return _of(PROCESSES.names(), incomplete)


def classes(incomplete: str) -> list[str]:
    """Device and network classes that begin so."""
    from simfl.fleet.catalogue import catalogue_dirs, list_classes

    return _of([entry.name for entry in list_classes(catalogue_dirs(Path()))], incomplete)


def plots(incomplete: str) -> list[str]:
    """Folders that begin so, and kinds of plots."""
    folders = [f"{path.as_posix()}/" for path in sorted(Path().glob(f"{incomplete}*/"))]
    return folders + _of([*RUN_PLOTS, *STUDY_PLOTS], incomplete)


def exports(incomplete: str) -> list[str]:
    """Kinds of exports that begin so."""
    return _of(EXPORTS, incomplete)


def _of(names: list[str] | tuple[str, ...], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
