"""Pieces of a page: tables, figures, sections; one file that needs no other and no network."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from simfl.results.captions import CAPTIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLE = """
:root { color-scheme: light dark; --ink: #222; --quiet: #5f5f5f; --line: #ddd; --back: #fff;
        --soft: #f5f5f5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e4e4; --quiet: #a8a8a8; --line: #444;
        --back: #181a1b; --soft: #242728; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back);
       max-width: 72em; margin: 2em auto; padding: 0 1em; }
h1, h2, h3 { line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin-top: 2em; border-bottom: 1px solid var(--line); } a { color: inherit; }
nav ul { columns: 18em; padding-left: 1.2em; margin: 0; } nav li { overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: 13px; }
.wide { overflow-x: auto; margin: .8em 0; }
th, td { padding: .25em .7em; text-align: right; border-bottom: 1px solid var(--line);
         white-space: nowrap; vertical-align: top; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0;
         background: var(--back); max-width: 16em; white-space: normal;
         overflow-wrap: break-word; }
.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.facts th { position: static; white-space: nowrap; }
figure { margin: 0; break-inside: avoid; } figcaption { color: var(--quiet); font-size: 13px; }
figcaption b { color: var(--ink); } img { max-width: 100%; height: auto; background: #fff;
         border-radius: 4px; }
pre { background: var(--soft); padding: 1em; overflow-x: auto; font-size: 12px; }
.figures { display: grid; gap: 1.5em; grid-template-columns: repeat(auto-fit,
         minmax(min(30em, 100%), 1fr)); align-items: start; margin: 1em 0; }
.note { color: var(--quiet); font-size: 13px; } summary { cursor: pointer; }
@page { size: A4 landscape; margin: 12mm; }
@media print {
  :root { --ink: #000; --quiet: #444; --line: #bbb; --back: #fff; --soft: #fff; }
  body { max-width: none; margin: 0; font-size: 11px; } h2, h3 { break-after: avoid; }
  .wide, pre { overflow: visible; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  img { max-height: 150mm; } table { font-size: 9px; }
  th, td { white-space: normal; padding: .2em .5em; }
  th:first-child, td:first-child { position: static; } tr { break-inside: avoid; }
  thead { display: table-header-group; }
  .figures { grid-template-columns: 1fr 1fr; } summary { list-style: none; }
  details:not([open])::details-content { content-visibility: visible; block-size: auto; }
}
"""


@dataclass
class Page:
    """A page that grows section by section, and the list of them that stands first."""

    title: str
    _parts: list[str] = field(default_factory=list)
    _contents: list[tuple[str, str]] = field(default_factory=list)

    def section(self, heading: str, *parts: str) -> None:
        """Adds a section that the contents list leads to."""
        word = re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
        name = f"{len(self._contents) + 1}-{word}"
        self._contents.append((name, heading))
        self._parts += [f'<h2 id="{name}">{escape(heading)}</h2>', *parts]

    def text(self) -> str:
        """The whole file."""
        listed = "".join(
            f'<li><a href="#{name}">{escape(heading)}</a></li>' for name, heading in self._contents
        )
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self.title)}</title>\n<style>{STYLE}</style></head>\n<body>\n"
            f"<h1>{escape(self.title)}</h1>\n<nav><ul>{listed}</ul></nav>\n"
            + "\n".join(self._parts)
            + "\n</body></html>\n"
        )


def table(frame: pd.DataFrame) -> str:
    """A frame as HTML, its index first; one that is too wide for the window scrolls."""
    names = (frame.index.name or "", *frame.columns)
    head = "".join(f"<th>{escape(str(name))}</th>" for name in names)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(str(value))}</td>" for value in (name, *row)) + "</tr>"
        for name, row in zip(frame.index, frame.to_numpy(), strict=True)
    )
    whole = f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
    return f'<div class="wide"><table>{whole}</table></div>'


def facts(pairs: Mapping[str, str]) -> str:
    """Subjects and their values, a row each."""
    rows = "".join(
        f"<tr><th>{escape(subject)}</th><td>{escape(words)}</td></tr>"
        for subject, words in pairs.items()
    )
    return f'<div class="wide"><table class="facts">{rows}</table></div>'


def note(words: str) -> str:
    """A paragraph that says how something was made."""
    return f'<p class="note">{escape(words)}</p>'


def folded(heading: str, text: str) -> str:
    """A long text behind its heading; in print it is open."""
    return f"<details><summary>{escape(heading)}</summary><pre>{escape(text)}</pre></details>"


def figures(pictures: Sequence[tuple[str, Callable[[], Axes]]]) -> str:
    """Figures side by side, each with how to read it. pictures: keys of CAPTIONS, and a plot."""
    shown = [_figure(*CAPTIONS[key], drawn(draw())) for key, draw in pictures]
    return f'<div class="figures">{"".join(shown)}</div>'


def _figure(name: str, words: str, url: str) -> str:
    text = f"<b>{escape(name)}</b>: {escape(words)}."
    return f'<figure><img alt="{escape(name)}" src="{url}"><figcaption>{text}</figcaption></figure>'


def drawn(axes: Axes) -> str:
    """The figure of these Axes as a data URL; the figure is closed."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    figure: Any = axes.figure
    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "simfl"}):
        figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()
