"""The documentation site: what it is made of, without building it."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import simfl

ROOT = Path(__file__).parents[1]

# By its path: the tests have a package of the same name.
_SPEC = spec_from_file_location("docs_reference", ROOT / "docs" / "reference.py")
assert _SPEC is not None
assert _SPEC.loader is not None
reference = module_from_spec(_SPEC)
_SPEC.loader.exec_module(reference)


def everything() -> str:
    """Every page, generated or written by hand."""
    made = [make() for make in reference.PAGES.values()]
    return "\n".join(made + [path.read_text("utf-8") for path in (ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("word", ["dropout", "cite", "own model"])
def test_what_people_search_for_is_found(word: str) -> None:
    assert re.search(rf"\b{word}\b", everything(), re.IGNORECASE)


def test_scenarios_are_ordered_by_path_and_every_link_has_its_heading() -> None:
    page = reference.scenario()
    headings = re.findall(r"^## `(.*)`$", page, re.MULTILINE)
    roots = [re.split(r"[\].]", heading.lstrip("["))[0] for heading in headings]
    assert roots == sorted(roots, key=list(dict.fromkeys(roots)).index)
    assert {"[[fleet.group]]", "[server]", '[fleet.group.presence] kind = "diurnal"'} <= {*headings}
    anchors = {reference._anchor(heading) for heading in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= anchors


def test_code_in_the_reference_has_no_backslashes() -> None:
    for page in (reference.scenario(), reference.strategies(), reference.parts()):
        shown = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
        assert not [code for code in re.findall(r"`([^`\n]*)`", shown) if "\\" in code]


def test_the_python_page_has_every_public_name() -> None:
    page = reference.python()
    assert all(re.search(rf"^(## |\| `){name}\b", page, re.MULTILINE) for name in simfl.__all__)
