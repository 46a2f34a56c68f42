from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "studies"))

from parts.pages import markdown, put_block, verdicts


def test_a_frame_becomes_a_markdown_table() -> None:
    table = pd.DataFrame({"word": ["a|b"], "number": [0.123456]}, index=pd.Index(["x"], name="run"))
    assert markdown(table).splitlines() == [
        "| run | word | number |",
        "| :-- | :-- | --: |",
        r"| x | a\|b | 0.1235 |",
    ]


def test_claims_become_rows() -> None:
    table = verdicts({"a": ("3 of 3", True), "b": ("none", False)})
    assert markdown(table).splitlines()[2:] == ["| a | 3 of 3 | yes |", "| b | none | no |"]


def test_what_stands_around_a_block_stays(tmp_path) -> None:
    page = tmp_path / "page.md"
    put_block(page, "table", "old")
    page.write_text("# By hand\n\n" + page.read_text("utf-8") + "\nAnd after.\n", "utf-8")
    put_block(page, "table", "new")
    put_block(page, "other", "more")
    assert page.read_text("utf-8") == (
        "# By hand\n\n<!-- generated: table -->\nnew\n<!-- end: table -->\n\nAnd after.\n\n"
        "<!-- generated: other -->\nmore\n<!-- end: other -->\n"
    )


def test_a_block_that_never_ends_is_not_overwritten(tmp_path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- generated: table -->\nwords\n", "utf-8")
    with pytest.raises(ValueError, match="never closed"):
        put_block(page, "table", "new")
