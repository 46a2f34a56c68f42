"""Pages of results: generated tables between markers of a Markdown file, words around them.

A page is written by hand except for its blocks, so that text survives when numbers are made
again:

    <!-- generated: table -->
    ...
    <!-- end: table -->
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd


def markdown(table: pd.DataFrame) -> str:
    """The frame as a Markdown table, its index first; text to the left, numbers to the right."""
    names = [str(table.index.name or ""), *map(str, table.columns)]
    rows = [[_cell(v) for v in (i, *row)] for i, row in zip(table.index, table.values, strict=True)]
    rule = [":--", *("--:" if _numeric(table[column]) else ":--" for column in table)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [names, rule, *rows])


def verdicts(found: Mapping[str, tuple[str, bool]]) -> pd.DataFrame:
    """One row for each claim: what was found, and whether the claim is met."""
    rows = {
        claim: {"found": said, "met": "yes" if met else "no"}
        for claim, (said, met) in found.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("claim")


def put_block(page: Path, name: str, text: str) -> None:
    """The page holds the text in its block of this name; a new block goes to the end."""
    first, last = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
    block = f"{first}\n{text.strip()}\n{last}"
    whole = page.read_text(encoding="utf-8") if page.exists() else ""
    before, found, rest = whole.partition(first)
    _, closed, after = rest.partition(last)
    if found and not closed:
        raise ValueError(f"{page}: block {name!r} is opened and never closed by {last}")
    added = f"{whole.rstrip()}\n\n{block}\n".lstrip()
    whole = before + block + after if found else added
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(whole, encoding="utf-8", newline="\n")


def _cell(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|")


def _numeric(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column))
