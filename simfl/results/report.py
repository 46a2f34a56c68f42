"""One HTML file that tells what runs or a study showed; it needs no network and no other file.

The same runs give the same bytes: nothing in it depends on when or where it was written.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import tomli_w

from simfl.results import stats
from simfl.results.compare import cells, compare, distinct_names
from simfl.results.result import Result
from simfl.results.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Runs that get a section of their own; of more, only the first do.
SECTIONS = 8

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 64em; margin: 2em auto;
       padding: 0 1em; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2em; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; font-size: 13px; } .wide { overflow-x: auto; }
th, td { padding: .25em .7em; text-align: right; border-bottom: 1px solid #eee;
         white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } figure { margin: 1em 0; }
figcaption { color: #555; font-size: 13px; } img { max-width: 100%; height: auto; }
pre { background: #f6f6f6; padding: 1em; overflow-x: auto; font-size: 12px; }
.figures { display: flex; flex-wrap: wrap; gap: 1em; align-items: flex-end; }
.figures figure { flex: 1 1 26em; } summary { cursor: pointer; }
@media print { details > * { display: block; } figure { break-inside: avoid; } }
"""


def report(
    seen: Study | Iterable[Result],
    path: str | Path,
    target: Mapping[str, float] | Sequence[Mapping[str, float]] | None = None,
) -> Path:
    """The report is written to this path, which is returned. Raises InputError.

    target: what costs are compared at, one or several; default: that of a study's scenario, none
    for other runs.
    """
    targets = [target] if isinstance(target, Mapping) else list(target or [])
    if isinstance(seen, Study):
        title, parts = seen.name, _of_study(seen, targets or [seen.target] * bool(seen.target))
    else:
        runs = distinct_names(seen)
        title, parts = ", ".join(runs), _of_runs(runs, targets)
    body = "\n".join([f"<h1>{html.escape(title)}</h1>", *parts])
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_page(title, body), encoding="utf-8", newline="\n")
    return path


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _of_study(study: Study, targets: Sequence[Mapping[str, float]]) -> list[str]:
    from simfl.results import plots

    parts = [_table(pd.DataFrame([study.headline()]).set_index("study"))]
    for wanted in targets:
        parts += _costs(study, wanted)
    if len(study.failed):
        failed = study.failed[[*study.axes, "seed", "ended"]]
        parts += ["<h2>Failed cells</h2>", _table(failed.set_index(failed.columns[0]))]
    runs = study.runs()
    parts += [
        "<h2>Progress</h2>",
        _figures(
            ("Median over seeds, in the range of all seeds", lambda: plots.bands(study)),
            ("The same against bytes moved", lambda: plots.bands(study, against="bytes")),
        ),
        "<h2>The first seed</h2>",
        *_of_runs(runs, []),
    ]
    return parts


def _costs(study: Study, wanted: Mapping[str, float]) -> list[str]:
    """What it took to meet a target: a table and two figures."""
    from simfl.results import plots

    said = ", ".join(f"{metric} {value:g}" for metric, value in wanted.items())
    found = study.at_target(None, **wanted)
    return [
        f"<h2>Costs to {html.escape(said)}</h2>",
        _table(stats.target_table(found)),
        f"<p>{html.escape(stats.how_made(found, study.variants[0]))}</p>",
        _figures(
            ("Costs to the target", lambda: plots.time_to_target(study, target=wanted)),
            ("Time and bytes to the target", lambda: plots.pareto(study, target=wanted)),
        ),
    ]


def _of_runs(runs: Mapping[str, Result], targets: Sequence[Mapping[str, float]]) -> list[str]:
    parts = []
    for wanted in targets or [{}]:
        head, *rows = cells(compare(runs, wanted or None))
        parts.append(_table(pd.DataFrame(rows, columns=head).set_index("run")))
    if len(runs) > 1:
        parts.append(_side_by_side(runs))
    parts += [_section(name, run) for name, run in list(runs.items())[:SECTIONS]]
    if len(runs) > SECTIONS:
        parts.append(f"<p>The other {len(runs) - SECTIONS} runs are in the table above only.</p>")
    return parts


def _side_by_side(runs: Mapping[str, Result]) -> str:
    from simfl.results import plots

    return _figures(
        ("Accuracy against virtual time", lambda: plots.accuracy(runs)),
        ("Accuracy against bytes moved", lambda: plots.accuracy(runs, against="bytes")),
        ("Staleness of applied updates", lambda: plots.staleness_ridges(runs)),
        ("Who contributed", lambda: plots.participation(runs)),
    )


def _section(name: str, run: Result) -> str:
    """One run: its figures and its scenario, folded away but for the name."""
    from simfl.results import plots

    pictures: list[tuple[str, Callable[[], Axes]]] = [
        ("Accuracy", lambda: plots.accuracy(run)),
        ("Staleness", lambda: plots.staleness(run)),
        ("Staleness by device class", lambda: plots.staleness_by_class(run)),
        ("Staleness over time", lambda: plots.staleness_heatmap(run)),
        ("Traffic", lambda: plots.traffic(run)),
        ("Waste by cause", lambda: plots.waste(run)),
        ("What each version waited for", lambda: plots.critical_path(run)),
        ("The first tasks", lambda: plots.timeline(run)),
    ]
    if len(run.versions):
        pictures.append(("Why the slowest version was slow", lambda: plots.slowest_version(run)))
    scenario = html.escape(tomli_w.dumps(run.scenario))
    return (
        f"<h2>{html.escape(name)}</h2>\n<p>digest {html.escape(run.digest)}</p>\n"
        f"{_figures(*pictures)}\n<details><summary>The resolved scenario</summary>"
        f"<pre>{scenario}</pre></details>"
    )


def _figures(*pictures: tuple[str, Callable[[], Axes]]) -> str:
    shown = [
        f'<figure><img alt="{html.escape(caption)}" src="{_drawn(draw())}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for caption, draw in pictures
    ]
    return f'<div class="figures">{"".join(shown)}</div>'


def _drawn(axes: Axes) -> str:
    """The figure of these Axes as a data URL; the figure is closed."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    figure: Any = axes.figure
    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "simfl"}):
        figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()


def _table(table: pd.DataFrame) -> str:
    """A frame as HTML, its index first."""
    head = "".join(f"<th>{html.escape(str(n))}</th>" for n in (table.index.name, *table.columns))
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(v))}</td>" for v in (name, *row)) + "</tr>"
        for name, row in zip(table.index, table.to_numpy(), strict=True)
    )
    return f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'
