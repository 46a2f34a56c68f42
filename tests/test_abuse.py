"""What nobody should do to simfl, and what it answers: one paragraph, and nothing lost."""

from __future__ import annotations

import json
import os
import random
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import tomli_w
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import simfl
from simfl.cli import main
from simfl.errors import InputError, PluginError
from simfl.fleet.catalogue import catalogue_dirs
from simfl.params import Params
from simfl.scenario import load, parse
from simfl.scenario.reading import shipped_names
from simfl.strategy.base import Change, LocalRule, Wait

ROOT = Path(__file__).parents[1]
SHIPPED = [ROOT / "scenarios" / f"{name}.toml" for name in shipped_names()]
TINY = {
    "name": "tiny",
    "fleet": {"group": [{"compute": {"kind": "constant", "s": 1.0}, "count": 4}]},
    "learning": {"dataset": "digits", "model": {"kind": "softmax"}},
    "strategy": {"kind": "fedavg", "cohort": 2},
    "stop": {"versions": 3},
}


def keys_of(table: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of all keys of a TOML table, those of data (a sweep's own keys) left out."""
    found: list[tuple[str | int, ...]] = []
    if isinstance(table, dict):
        for key, value in table.items():
            if path != ("sweep",):
                found.append((*path, key))
            found += keys_of(value, (*path, key))
    if isinstance(table, list):
        for i, value in enumerate(table):
            found += keys_of(value, (*path, i))
    return [key for key in found if isinstance(key[-1], str)]


def misspelt(table: dict, path: tuple[str | int, ...], wrong: str) -> dict:
    """A copy of the table in which one key is spelt otherwise."""
    copy = json.loads(json.dumps(table))
    here = copy
    for key in path[:-1]:
        here = here[key]
    renamed = {(wrong if key == path[-1] else key): value for key, value in here.items()}
    here.clear()
    here.update(renamed)
    return copy


def complaint(work: Callable[[], object]) -> str:
    """What an InputError says; nothing if there is none."""
    try:
        work()
    except InputError as error:
        return str(error)
    return ""


def typos(path: Path, most: int | None) -> list[tuple[str, dict]]:
    """(what is misspelt, the scenario with one letter less in that key), for some or all keys."""
    table = tomllib.loads(path.read_text("utf-8"))
    if "extends" in table:
        table["extends"] = str((path.parent / table["extends"]).resolve())
    rng, keys = random.Random(path.stem), keys_of(table)
    chosen = keys if most is None else rng.sample(keys, min(most, len(keys)))
    found = []
    for key in chosen:
        word = str(key[-1])
        at = rng.randrange(len(word))
        wrong = word[:at] + word[at + 1 :] if len(word) > 3 else word + "x"
        found.append((f"{wrong} for {'.'.join(map(str, key))}", misspelt(table, key, wrong)))
    return found


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
@pytest.mark.parametrize("most", [2, pytest.param(None, marks=pytest.mark.study)])
def test_a_typo_in_a_key_of_a_shipped_scenario_is_caught(
    path: Path, most: int | None, tmp_path: Path
) -> None:
    """In two keys of each scenario; in every key among the studies."""
    file = tmp_path / "typo.toml"
    for what, table in typos(path, most):
        file.write_text(tomli_w.dumps(table), "utf-8")
        said = complaint(partial(load, file))
        assert said, f"{what} was accepted"
        assert "\n" not in said


tomlish = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(data=st.data())
@settings(max_examples=40)
def test_no_value_anywhere_gives_anything_but_one_paragraph(data: st.DataObject) -> None:
    """Any value in place of any other: accepted, or refused with an InputError."""
    table = tomllib.loads((ROOT / "tests/scenario/night.toml").read_text("utf-8"))
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


def test_huge_numbers_and_many_keys_are_refused_quickly(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        parse({**TINY, "stop": {"versions": -(10**30)}})
    path = tmp_path / "huge.toml"
    path.write_text("".join(f"key{i} = {i}\n" for i in range(5_000)), "utf-8")
    with pytest.raises(InputError) as caught:
        load(path)
    assert len(str(caught.value)) < 2000


def test_unicode_is_welcome_in_folders_and_refused_in_names(tmp_path: Path) -> None:
    out = tmp_path / "Läufe ☂"
    assert simfl.run(TINY, out=out).folder == out
    with pytest.raises(InputError, match="name"):
        parse({**TINY, "name": "../../etc"})


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_an_error_not_a_traceback(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert main(["run", "quickstart", "--out", str(tmp_path / "run"), "--quiet"]) == 2


def test_a_full_disk_is_an_error_not_a_traceback(tmp_path: Path, monkeypatch, capsys) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("simfl.results.store._write", full)
    assert main(["run", "quickstart", "--out", str(tmp_path / "run"), "--quiet"]) == 2
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tasks.parquet", "summary.json", "scenario.toml"])
@pytest.mark.parametrize("damage", ["empty", "half", "noise"])
def test_a_damaged_run_folder_is_told_in_one_paragraph(
    tmp_path: Path, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    simfl.run(TINY, out=tmp_path / "run")
    path = tmp_path / "run" / name
    whole = path.read_bytes()
    spoilt = {"empty": b"", "half": whole[: len(whole) // 2], "noise": b"\xff\x00" * 50}[damage]
    path.write_bytes(spoilt)
    assert main(["verify", str(tmp_path / "run")]) in (2, 3)
    said = capsys.readouterr().err
    assert said.startswith("simfl: ")
    assert "a bug" not in said


@dataclass(frozen=True)
class Nonsense:
    how: str
    local: LocalRule = field(default_factory=LocalRule)

    def init(self, params: Params) -> None:
        return None

    def step(self, state: None, server: simfl.Server, updates: list[simfl.Update]) -> Wait:
        if updates:
            delta = updates[0].delta
            weight = -1.0 if self.how == "negative weight" else 1.0
            if self.how == "not finite":
                delta = delta * float("nan")
            if self.how == "wrong shape":
                delta = Params.from_named({"w": torch.ones(1)})
            server.apply(Change(delta, {updates[0].task: weight}))
        if self.how != "never dispatches":
            server.dispatch(server.sample(1))
        return Wait()


@pytest.mark.parametrize(
    "how", ["negative weight", "not finite", "wrong shape", "never dispatches"]
)
def test_nonsense_from_a_strategy_names_it_and_keeps_what_was_seen(
    tmp_path: Path, how: str
) -> None:
    out = tmp_path / "run"
    with pytest.raises((PluginError, simfl.SimflError), match="Nonsense"):
        simfl.run({**TINY, "strategy": Nonsense(how)}, out=out)
    left = simfl.open(out)
    assert left.summary["ended"].startswith(("failed", "stalled"))
    assert len(left.evaluations) >= 1


def test_learning_that_diverges_is_a_result_not_an_error() -> None:
    table = {**TINY, "learning": {**TINY["learning"], "lr": 1e30}}
    result = simfl.run(table)
    assert result.summary["versions"] == 3


def test_the_clock_of_the_host_may_be_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = simfl.run(TINY).digest
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert simfl.run(TINY).digest == whole


def test_no_data_file_is_read_by_pickle() -> None:
    """One reader refuses all but plain containers and numbers; the other reads its own workers."""
    allowed = {"plain_pickle.py", "mail.py"}
    users = [
        path.name
        for path in (ROOT / "simfl").rglob("*.py")
        if "import pickle" in path.read_text("utf-8") or "torch.load" in path.read_text("utf-8")
    ]
    assert set(users) <= allowed
    assert catalogue_dirs(None)
