"""Plain words: a sentence's subject is a thing of the glossary, and no person without a name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORDS = ("told", "said", "nobody", "somebody", "anybody", "whoever")
FILLER = re.compile(rf"(?<![a-z])({'|'.join(WORDS)})(?![a-z])", re.IGNORECASE)

PATTERNS = ("simfl/**/*.py", "docs/**/*.md", "docs/*.py", "*.md", "scenarios/**/*.toml",
            "devices/**/*.toml", "notebooks/*.ipynb", "notebooks/*.py")  # fmt: skip
FILES = sorted({path for pattern in PATTERNS for path in ROOT.glob(pattern)})


def filler(text: str) -> list[str]:
    """Lines with a word that says who, where a thing should stand, or that something was said."""
    return [line.strip() for line in text.splitlines() if FILLER.search(line)]


@pytest.mark.parametrize(
    "folder",
    sorted({path.parent for path in FILES}),
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_code_and_pages_use_plain_words(folder: Path) -> None:
    mine = [path for path in FILES if path.parent == folder]
    found = {path.name: lines for path in mine if (lines := filler(path.read_text("utf-8")))}
    assert found == {}


@pytest.mark.parametrize("text", ["A key that nobody reads.", "def _told(error):", "Said once."])
def test_a_filler_is_found(text: str) -> None:
    assert filler(text)


@pytest.mark.parametrize("text", ["The result is stated.", "untold = 1", "besaid"])
def test_other_words_are_left_alone(text: str) -> None:
    assert not filler(text)
