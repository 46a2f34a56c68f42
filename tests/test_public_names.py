"""The table of contents: what `import simfl` offers, and that it costs nothing."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import simfl

# fmt: off
NOUNS = [
    "Buffered", "Change", "Codec", "Count", "DataDir", "DataError", "Dataset", "DeviceData",
    "Duration", "FedAvg", "Fleet", "Fraction", "Index", "InputError", "LocalRule", "NonNegative",
    "Objective", "Params", "PersonalRule", "Positive", "Proximal", "Report", "Result",
    "Scenario", "Seconds", "Server", "Share", "SimflError", "State", "StatefulCodec", "Strategy",
    "Study", "Task", "TaskWork", "Trace", "Trained", "Update", "Wait", "Wire", "Work",
]
# fmt: on
# fmt: off
VERBS = [
    "as_dataset",
    "callbacks", "compare", "discounted", "fleet_of", "flower", "how_made", "load",
    "mean", "open", "plot", "run", "staleness_of", "study", "table",
    "target_table", "weighted", "write_trace",
]
# fmt: on


def typed_names() -> set[str]:
    """What the TYPE_CHECKING block of simfl/__init__.py imports."""
    tree = ast.parse(Path(simfl.__file__).read_text("utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If))
    return {
        a.asname or a.name for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names
    }


#: Modules whose own names are public; all other paths may change.
PUBLIC = {"callbacks", "notebook", "testing"}
PATHS = ("README.md", "CONTRIBUTING.md", "docs/*.md", "notebooks/*.ipynb")
PAGES = [page for path in PATHS for page in sorted(Path(__file__).parents[1].glob(path))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_import_what_is_public(page: Path) -> None:
    found = re.findall(r"(?:from|import) simfl\.(\w+)", page.read_text("utf-8"))
    assert set(found) <= PUBLIC


def test_the_public_names_are_these() -> None:
    """Adding or removing one is a decision, not an accident."""
    assert simfl.__all__ == [*NOUNS, *VERBS]


def test_people_and_type_checkers_see_the_same_names() -> None:
    assert typed_names() == set(simfl.__all__) == set(simfl._HOMES)


@pytest.mark.parametrize("name", simfl.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(simfl, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'device_manager'"):
        _ = simfl.device_manager


@pytest.mark.parametrize("verb", ["run", "study", "load", "open"])
def test_a_verb_is_a_plain_function(verb: str) -> None:
    assert inspect.isfunction(getattr(simfl, verb))
