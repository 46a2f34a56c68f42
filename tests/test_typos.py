"""Scenario files with mistakes, by accident or in anger: each gets one paragraph, and at once."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))  # spoiling.py
from spoiling import ROOT, SHIPPED, keys_of, read, suggested, told, typos

from simfl.errors import InputError
from simfl.files import TOML_BYTES
from simfl.fleet.catalogue import load_class
from simfl.scenario import load, parse


def complaint(work: Callable[[], object]) -> str:
    """What an InputError says; nothing if there is none."""
    try:
        work()
    except InputError as error:
        return str(error)
    return ""


#: Keys of a sweep that are misspelt in the tests: each time all of its variants are read.
SOME = 8


@pytest.mark.parametrize("most", [SOME, pytest.param(999, marks=pytest.mark.study)])
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_typo_in_any_key_of_a_shipped_scenario_is_caught_with_the_right_word(
    path: Path, most: int
) -> None:
    chance = random.Random(path.stem)
    found = list(typos(path, 1, chance))
    swept = [typo for typo in found if typo.path[0] == "sweep"]
    own = [typo for typo in found if typo.path[0] != "sweep"]
    for typo in own + chance.sample(swept, min(most, len(swept))):
        said = told(typo, path)
        assert said, f"{typo} was accepted"
        assert suggested(typo, said), f"{typo}: {said}"
        assert "\n" not in said


def test_a_typo_in_a_file_is_told_with_the_file_s_name(tmp_path: Path) -> None:
    file = tmp_path / "typo.toml"
    typo = next(typos(ROOT / "scenarios/quickstart.toml", 1, random.Random(1)))
    file.write_text(tomli_w.dumps(typo.table), "utf-8")
    said = complaint(partial(load, file))
    assert said.startswith(f"{file}: ")
    assert suggested(typo, said)


tomlish = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(data=st.data())
@settings(max_examples=40)
def test_no_value_anywhere_gives_anything_but_one_paragraph(data: st.DataObject) -> None:
    """Any value in place of any other: accepted, or refused with an InputError."""
    table = read(ROOT / "tests/scenario/night.toml")
    key = data.draw(st.sampled_from(keys_of(table)))
    here = table
    for part in key[:-1]:
        here = here[part]
    here[key[-1]] = data.draw(tomlish)
    assert "\n" not in complaint(partial(parse, table))


@given(text=st.text(max_size=200))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_as_a_scenario_gives_a_traceback(text: str, tmp_path: Path) -> None:
    path = tmp_path / "fuzz.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError):
        load(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("".join(f"key{i} = {i}\n" for i in range(1_000_000)), "bytes, expected at most"),
        ("".join(f"k{i}=1\n" for i in range(20_000)), "k0 is not an option .* 20002 more"),
        ("x = " + "[" * 100_000, "nested too deeply"),
        ("x = " + "{a=" * 100_000, "nested too deeply"),
        (".".join("a" * 100_000) + " = 1", "16 parts"),
        ("[" + ".".join("a" * 100_000) + "]", "16 parts"),
        ("a" * 1_000_000 + " = 1", "is not an option"),
        ("seed = 1" + "0" * 5_000, "too many digits"),
        ("seed = 0x1" + "0" * 5_000, "at most 64 bits"),
        ("x = \"" + "a" * 1_000_000, "not valid TOML"),
    ],
    ids=["a million keys", "many keys", "lists", "tables", "dots", "header", "key", "digits",
         "hexadecimal", "text"],
)  # fmt: skip
def test_what_is_too_much_is_refused_and_not_worked_on(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "huge.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=said) as caught:
        load(path)
    assert len(str(caught.value)) < 1000


def test_a_large_scenario_of_a_real_fleet_is_read(tmp_path: Path) -> None:
    table = read(ROOT / "tests/scenario/night.toml")
    table["fleet"]["group"] = [{"compute": {"kind": "constant", "s": 1.0}, "count": 131_072}]
    sizes = {"dataset": "none", "parameters": 10, "flops_per_example": 1e6}
    table["learning"] = {**sizes, "examples": [50] * 131_072}
    table["stop"] = {"versions": 1}
    path = tmp_path / "large.toml"
    path.write_text(parse(table).to_toml(), "utf-8")
    assert path.stat().st_size < TOML_BYTES / 2
    assert load(path).fleet.devices == 131_072


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("stop.versions", -(10**30), "at most 64 bits"),
        ("strategy.buffer", 2**63, "at most 64 bits"),
        ("fleet.group.0.count", 10**12, "devices, expected at most"),
        ("evaluate.every_s", 5e-324, "not below 1e-06"),
    ],
)
def test_huge_and_tiny_numbers_are_refused(key: str, value: float, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load("quickstart", {key: value})


def test_names_that_are_no_folders_are_refused() -> None:
    for name in ("../../etc", "Läufe", "a/b", "", ".", "nul\0"):
        with pytest.raises(InputError, match="name"):
            load("quickstart", {"name": name})


@pytest.mark.parametrize("text", ["x = " + "[" * 100_000, "kind = 3", "\0", 'kind = "device"'])
def test_a_class_that_is_none_is_one_paragraph(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.toml").write_text(text, "utf-8")
    assert "odd.toml" in complaint(partial(load_class, "odd", [tmp_path]))
