"""Files, parents and overrides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simfl.errors import ScenarioError
from simfl.scenario import load
from simfl.scenario.reading import merged, override, overrides_of, read

Write = Callable[[str, str], Path]


def test_a_child_changes_keys_of_its_parents_tables_and_replaces_its_lists(write: Write) -> None:
    write("base.toml", "seed = 1\nwords = [1, 2]\n[stop]\nafter_s = 5\nversions = 3\n")
    child = write("child.toml", 'extends = "base.toml"\nwords = [3]\n[stop]\nversions = 4\n')
    assert read(child) == {"seed": 1, "words": [3], "stop": {"after_s": 5, "versions": 4}}


def test_parents_may_have_parents_and_lie_elsewhere(write: Write) -> None:
    write("a.toml", "seed = 1\nname = 'a'\n")
    write("inner/b.toml", "extends = '../a.toml'\nname = 'b'\n")
    assert read(write("c.toml", "extends = 'inner/b.toml'")) == {"seed": 1, "name": "b"}


def test_a_circle_of_parents_is_an_error_that_shows_it(write: Write) -> None:
    write("a.toml", "extends = 'b.toml'")
    path = write("b.toml", "extends = 'a.toml'")
    with pytest.raises(ScenarioError, match=r"extends itself \(b.toml -> a.toml -> b.toml\)"):
        read(path)


@pytest.mark.parametrize("parent", ["'absent.toml'", "3", "['a.toml', 'b.toml']"])
def test_a_parent_that_is_no_file_is_an_error(write: Write, parent: str) -> None:
    with pytest.raises(ScenarioError, match=r"extends = .* expected the path of a scenario"):
        read(write("a.toml", f"extends = {parent}"))


def test_a_data_folder_is_relative_to_the_file_that_names_it(write: Write) -> None:
    write("inner/base.toml", "[learning]\ndata_dir = 'data'")
    child = read(write("child.toml", "extends = 'inner/base.toml'"))
    assert Path(child["learning"]["data_dir"]) == child_folder(write) / "inner" / "data"


def child_folder(write: Write) -> Path:
    return write("x", "").parent.resolve()


def test_a_syntax_error_has_its_line_and_column(write: Write) -> None:
    with pytest.raises(ScenarioError, match=r"bad.toml: not valid TOML: .*line 2, column 7"):
        load(write("bad.toml", "seed = 1\nname  'x'"))


def test_a_file_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(ScenarioError, match="not UTF-8"):
        load(path)


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    """Some editors put one in front of every file."""
    path = tmp_path / "marked.toml"
    path.write_bytes(b"\xef\xbb\xbfseed = 3")
    assert read(path) == {"seed": 3}


def test_an_absent_file_is_an_error_that_knows_the_shipped_scenarios() -> None:
    with pytest.raises(ScenarioError, match=r"did you mean 'quickstart'"):
        load("quikstart")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("20", 20),
        ("0.5", 0.5),
        ("true", True),
        ('"20"', "20"),
        ("[1, 2]", [1, 2]),
        ('{ kind = "iid" }', {"kind": "iid"}),
        ("digits", "digits"),
        ("a=b", "a=b"),
        ("C:\\data", "C:\\data"),
        ("1\nseed = 2", "1\nseed = 2"),
        ("", ""),
    ],
)
def test_an_override_is_a_toml_value_or_else_text(text: str, value: object) -> None:
    assert overrides_of([f"a.b={text}"]) == {("a", "b"): value}


@pytest.mark.parametrize("text", ["seed", "=3", "a..b=1", ".a=1"])
def test_an_override_without_a_key_path_or_a_value_is_an_error(text: str) -> None:
    with pytest.raises(ScenarioError, match=r"expected key\.path=value"):
        overrides_of([text])


def test_overrides_reach_into_lists_and_make_missing_tables() -> None:
    table = {"fleet": {"group": [{"count": 1}, {"count": 2}]}}
    changed = override(table, ("fleet", "group", 1, "count"), 5)
    assert changed == {"fleet": {"group": [{"count": 1}, {"count": 5}]}}
    assert override(table, ("stop", "after_s"), 3)["stop"] == {"after_s": 3}
    assert table == {"fleet": {"group": [{"count": 1}, {"count": 2}]}}


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("fleet.group.2.count", r"has no entry 2 \(entries: 0 to 1\)"),
        ("fleet.group.last.count", r"has no entry last"),
        ("fleet.none.0", r"none, it is empty"),
        ("seed.low", r"seed = 3 is not a table"),
    ],
)
def test_an_override_that_leads_nowhere_is_an_error(key: str, said: str) -> None:
    table = {"seed": 3, "fleet": {"group": [{}, {}], "none": []}}
    for path, value in overrides_of({key: 1}).items():
        with pytest.raises(ScenarioError, match=said):
            override(table, path, value)


def test_the_seed_of_a_call_stands_above_all_others(night: Path) -> None:
    assert load(night, ["seed=3"], seed=4).seed == 4


tables = st.recursive(
    st.integers(),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
).filter(lambda value: isinstance(value, dict))


@given(tables, tables)
def test_what_is_laid_above_always_shows(below: dict, above: dict) -> None:
    both = merged(below, above)
    assert merged(both, above) == both
    assert set(both) == set(below) | set(above)
    assert merged({}, above) == above == merged(above, {})


def test_a_shipped_scenario_is_extended_by_its_name(write) -> None:
    assert read(write("mine.toml", "extends = 'quickstart'\nname = 'mine'"))["name"] == "mine"
    with pytest.raises(ScenarioError, match="did you mean 'quickstart'"):
        read(write("wrong.toml", "extends = 'quikstart'"))
