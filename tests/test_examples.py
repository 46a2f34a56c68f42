"""Examples in docstrings print what they say."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import simfl

ROOT = Path(simfl.__file__).parent
FILES = [file for file in sorted(ROOT.rglob("*.py")) if ">>>" in file.read_text("utf-8")]

#: Public functions that compute on what they are given.
COMPUTING = ("compare", "mean", "discounted", "weighted", "staleness_of", "as_dataset")


def dotted(path: Path) -> str:
    return ".".join(("simfl", *path.relative_to(ROOT).with_suffix("").parts))


@pytest.mark.parametrize("module", [dotted(file) for file in FILES])
def test_examples_print_what_they_say(module: str) -> None:
    if module.startswith("simfl.interop.flower"):
        pytest.importorskip("flwr")
    found = doctest.testmod(import_module(module))
    assert found.attempted
    assert found.failed == 0


@pytest.mark.parametrize("name", COMPUTING)
def test_a_public_function_that_computes_shows_it(name: str) -> None:
    assert ">>>" in (getattr(simfl, name).__doc__ or "")
