"""One HTML file that tells what runs or a study showed; it needs no network and no other file.

The same runs give the same bytes: nothing in it depends on when or where it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import tomli_w

from simfl.errors import InputError
from simfl.files import put, read_object
from simfl.results import html, stats
from simfl.results.compare import cells, compare, distinct_names
from simfl.results.result import Result
from simfl.results.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Runs that get a section of their own; of more, only the first do.
SECTIONS = 8

#: Most variants whose bands share one figure; with more, each variant has a panel.
TOGETHER = 5

Target = Mapping[str, float]
Pictures = list[tuple[str, "Callable[[], Axes]"]]


def report(
    seen: Study | Iterable[Result],
    path: str | Path,
    target: Target | Sequence[Target] | None = None,
) -> Path:
    """The report is written to this path, which is returned. Raises InputError.

    target: what costs are compared at, one or several; default: that of a study's scenario, none
    for other runs.
    """
    targets = [target] if isinstance(target, Mapping) else list(target or [])
    if isinstance(seen, Study):
        page = html.Page(seen.name)
        _study(page, seen, targets or [seen.target] * bool(seen.target))
    else:
        runs = distinct_names(seen)
        page = html.Page(", ".join(runs))
        _runs(page, "The runs side by side" if len(runs) > 1 else "The run", runs, targets)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    put(path, page.text().encode())
    return path


def _study(page: html.Page, study: Study, targets: Sequence[Target]) -> None:
    page.section("Overview", html.facts(study.headline()), html.table(_overview(study)))
    if study.tuning is not None:
        _tuning(page, study)
    for wanted in targets:
        _costs(page, study, wanted)
    if len(study.failed):
        failed = study.failed[[*study.axes, "seed", "ended"]]
        page.section("Failed runs", html.table(failed.set_index(failed.columns[0])))
    if study.results:
        page.section("Progress", html.figures(_progress(study)), *_scores(study))
        seed = study.table.loc[study.table["cell"].isin(list(study.results)), "seed"].iloc[0]
        _runs(page, f"The runs of seed {seed}", study.runs(int(seed)), [])


def _overview(study: Study) -> pd.DataFrame:
    """One row per variant: what was played, and how it ended."""
    rows = {
        name: {
            "seeds": ", ".join(map(str, part["seed"])),
            "ended": _counted(part["ended"]),
            "versions": f"{part['versions'].median():.0f}",
            "tasks": f"{part['tasks'].median():.0f}",
        }
        for name, part in study.table.groupby("variant", sort=False)
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("variant")


def _counted(ends: pd.Series) -> str:
    """`4 target, 1 after_s`; a failure without its reason, which has a table of its own."""
    counts = ends.str.partition(":")[0].value_counts(sort=False)
    return ", ".join(f"{number} {end}" for end, number in counts.items())


def _tuning(page: html.Page, study: Study) -> None:
    from simfl.results import plots

    found = study.tuning
    assert found is not None
    seeds = ", ".join(map(str, found.options["seeds"]))
    words = f"Every variant had the same number of trials on the seeds {seeds}, which the study "
    words += "does not use. An option on the edge of its space may have a better value beyond it."
    pictures: Pictures = [
        ("tuning", lambda: plots.tuning(study)),
        ("importance", lambda: plots.importance(study)),
    ]
    page.section("Tuning", html.table(found.table()), html.note(words), html.figures(pictures))


def _costs(page: html.Page, study: Study, wanted: Target) -> None:
    """What it took to meet a target: a table and figures."""
    from simfl.results import plots

    target = ", ".join(f"{metric} {value:g}" for metric, value in wanted.items())
    found = study.at_target(None, **wanted)
    pictures: Pictures = [
        ("time-to-target", lambda: plots.time_to_target(study, target=wanted)),
        ("pareto", lambda: plots.pareto(study, target=wanted)),
    ]
    if len(study.axes) > 1:
        profile = lambda: plots.performance_profile(study, target=wanted)  # noqa: E731
        pictures.append(("performance-profile", profile))
    page.section(
        f"Costs to {target}",
        html.table(stats.target_table(found)),
        html.note(stats.how_made(found, study.variants[0])),
        html.figures(pictures),
    )


def _progress(study: Study) -> Pictures:
    from simfl.results import plots

    draw = plots.bands if len(study.variants) <= TOGETHER else plots.bands_apart
    return [
        ("bands", lambda: draw(study)),
        ("bands-bytes", lambda: draw(study, against="bytes")),
    ]


def _scores(study: Study) -> list[str]:
    if not study.table["final_accuracy"].notna().any():
        return []
    note = "Accuracy in per cent: mean over seeds ± sample standard deviation. The best alone "
    return [html.table(study.scores()), html.note(note + "flatters methods that fluctuate.")]


def _runs(
    page: html.Page, heading: str, runs: Mapping[str, Result], targets: Sequence[Target]
) -> None:
    parts = []
    for wanted in targets or [{}]:
        head, *rows = cells(compare(runs, wanted or None))
        if wanted:
            parts.append(html.note("To " + ", ".join(f"{k} {v:g}" for k, v in wanted.items())))
        parts.append(html.table(pd.DataFrame(rows, columns=head).set_index("run")))
    if len(runs) > 1:
        parts.append(html.figures(_side_by_side(runs)))
    page.section(heading, *parts)
    for name, run in list(runs.items())[:SECTIONS]:
        page.section(name, *_one(run))
    if len(runs) > SECTIONS:
        left = len(runs) - SECTIONS
        page.section("Other runs", html.note(f"{left} more runs are in the tables above only."))
    page.section("Environment", *_environment(next(iter(runs.values()))))


def _side_by_side(runs: Mapping[str, Result]) -> Pictures:
    from simfl.results import plots

    return [
        ("accuracy", lambda: plots.accuracy(runs)),
        ("accuracy-bytes", lambda: plots.accuracy(runs, against="bytes")),
        ("staleness-ridges", lambda: plots.staleness_ridges(runs)),
        ("participation", lambda: plots.participation(runs)),
    ]


def _one(run: Result) -> list[str]:
    """One run: its figures and its scenario, folded away but for the name."""
    from simfl.results import plots

    pictures: Pictures = [
        ("accuracy", lambda: plots.accuracy(run)),
        ("staleness", lambda: plots.staleness(run)),
        ("staleness-by-class", lambda: plots.staleness_by_class(run)),
        ("staleness-heatmap", lambda: plots.staleness_heatmap(run)),
        ("traffic", lambda: plots.traffic(run)),
        ("waste", lambda: plots.waste(run)),
        ("critical-path", lambda: plots.critical_path(run)),
        ("timeline", lambda: plots.timeline(run)),
    ]
    if run.count("versions"):
        pictures.append(("slowest-version", lambda: plots.slowest_version(run)))
    scenario = html.folded("The resolved scenario", tomli_w.dumps(run.scenario))
    return [html.note(f"digest {run.digest}"), html.figures(pictures), scenario]


def _environment(run: Result) -> list[str]:
    """What the run was computed with, as its folder says."""
    try:
        known = read_object(run.folder / "environment.json")
        packages = dict(known.pop("packages", {}))
        facts = {key: _words(value) for key, value in known.items()}
    except (InputError, ValueError, TypeError):
        return [html.note("The run folder does not say what it was computed with.")]
    return [html.facts(facts | {name: str(version) for name, version in packages.items()})]


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items())
    return str(value)
