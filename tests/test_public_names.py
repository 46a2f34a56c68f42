"""The table of contents: what `import simfl` offers, and that it costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import simfl

# fmt: off
NOUNS = [
    "Change", "Codec", "Fleet", "InputError", "LocalRule", "Params", "Report", "Result",
    "Scenario", "Server", "SimflError", "Strategy", "Study", "Task", "Update", "Wait", "Wire",
    "Work",
]
# fmt: on
VERBS = ["flower", "load", "open", "plot", "run", "study"]


def typed_names() -> set[str]:
    """What the TYPE_CHECKING block of simfl/__init__.py imports."""
    tree = ast.parse(Path(simfl.__file__).read_text("utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If))
    return {
        a.asname or a.name for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names
    }


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


@pytest.mark.parametrize(
    "first", ["import simfl", "import simfl.run", "from simfl.run import run", "simfl.run"]
)
def test_run_can_be_called_whoever_imports_it_first(first: str) -> None:
    """`simfl.run` is a file and a verb; neither may shadow the other."""
    code = f"import simfl\n{first}\nimport simfl.run as m\nassert callable(simfl.run) and m.run"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""


def test_a_verb_calls_the_function_of_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from simfl.verbs import make_verb\nmake_verb(__name__)\ndef twice(x): return 2 * x\n"
    (tmp_path / "twice.py").write_text(source, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    import twice

    assert twice(4) == twice.twice(4) == 8
