"""From a file, its parent and overrides to one plain table. Nothing is validated here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from simfl.errors import ScenarioError, did_you_mean, shorten
from simfl.files import parse_toml, read_toml
from simfl.scenario.complain import KeyPath, dotted, shown

Table = dict[str, Any]

#: Files that a scenario may extend, one the next; parts that the key path of an override may have.
MOST_PARENTS, MOST_KEYS = 16, 16


def shipped_dir() -> Path:
    """The folder of shipped scenarios: in the installed package, or in a source checkout."""
    package = Path(__file__).parents[1]
    installed = package / "_catalogue" / "scenarios"
    return installed if installed.is_dir() else package.parent / "scenarios"


def shipped_names() -> list[str]:
    """Names of the shipped scenarios: "quickstart", "strategies/fedbuff"."""
    folder = shipped_dir()
    found = sorted(path for path in folder.rglob("*.toml") if path.name != "pyproject.toml")
    return [path.relative_to(folder).with_suffix("").as_posix() for path in found]


def find(path_or_name: str | Path) -> Path:
    """The file meant by a path or by the name of a shipped scenario. Raises ScenarioError."""
    path = Path(path_or_name)
    if os.path.isfile(path):  # False also for a name that is too long
        return path
    name = path.as_posix().removesuffix(".toml")
    if name in (names := shipped_names()):
        return shipped_dir() / f"{name}.toml"
    if os.path.exists(path):
        return path  # a folder or a pipe: its reader says so
    raise ScenarioError(
        f"{shorten(str(path_or_name))}: no such file, and no shipped scenario of that name "
        f"{did_you_mean(name, names)}"
    )


def read_about(path: Path) -> str:
    """What the first line of a scenario's file says that it shows."""
    first = path.read_text("utf-8").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def standalone(path: Path) -> str:
    """The text of a shipped scenario, which extends another by its name, wherever it is saved."""
    text = path.read_text("utf-8")
    parent = parse_toml(text).get("extends")
    if not isinstance(parent, str) or not (path.parent / parent).is_file():
        return text
    name = (path.parent / parent).resolve().relative_to(shipped_dir().resolve())
    return text.replace(f'"{parent}"', f'"{name.with_suffix("").as_posix()}"', 1)


def read(path: Path, children: tuple[Path, ...] = ()) -> Table:
    """The tables of a file, laid over those of the file that it extends. Raises ScenarioError."""
    path = path.resolve()
    if len(children) == MOST_PARENTS:
        raise ScenarioError(f"{children[0]}: extends a chain of more than {MOST_PARENTS} files")
    if path in children:
        circle = " -> ".join(p.name for p in (*children[children.index(path) :], path))
        raise ScenarioError(f"{children[0]}: extends itself ({circle})")
    table = read_toml(path, ScenarioError)
    learning = table.get("learning")
    if isinstance(learning, dict) and isinstance(learning.get("data_dir"), str):
        learning["data_dir"] = str(path.parent / learning["data_dir"])
    if "extends" not in table:
        return table
    parent = _parent(path, table.pop("extends"))
    return merged(read(parent, (*children, path)), table)


def _parent(path: Path, named: Any) -> Path:
    """The file that a scenario extends: beside it, or a shipped one by its name."""
    if isinstance(named, str) and os.path.isfile(path.parent / named):
        return path.parent / named
    names = shipped_names()
    if isinstance(named, str) and named.removesuffix(".toml") in names:
        return shipped_dir() / f"{named.removesuffix('.toml')}.toml"
    raise ScenarioError(
        f"{path}: extends = {shown(named)}, expected the path of a scenario file, relative to "
        f"{path.parent}, or the name of a shipped scenario {did_you_mean(str(named), names)}"
    )


def merged(below: Table, above: Table) -> Table:
    """Tables merge key by key; every other value, lists included, replaces what was there.

    So does a table of another `kind`, and of learning a table with a data set where there was
    none: the options of one part mean nothing to another.
    """
    result = dict(below)
    for key, value in above.items():
        old = below.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and _same_kind(old, value):
            value = merged(old, value)
        result[key] = value
    return result


def _same_kind(below: Table, above: Table) -> bool:
    if "dataset" in above and "none" in (above["dataset"], below.get("dataset")):
        return bool(above["dataset"] == below.get("dataset"))
    return "kind" not in above or above["kind"] == below.get("kind")


def overrides_of(given: Mapping[str, Any] | Iterable[str]) -> dict[KeyPath, Any]:
    """Values by key path, from a mapping or from texts like "strategy.buffer=20"."""
    pairs = given.items() if isinstance(given, Mapping) else map(_split, given)
    return {_path(key): value for key, value in pairs}


def _path(key: str) -> KeyPath:
    words = key.split(".")
    if len(words) > MOST_KEYS:
        raise ScenarioError(f"override {shorten(key)}: has more than {MOST_KEYS} parts")
    return tuple(map(_key, words))


def override(table: Table, path: KeyPath, value: Any) -> Table:
    """A copy of the table in which the value stands at this path. Raises ScenarioError."""
    changed: Table = _put(table, path, 0, value)
    return changed


def _put(here: Any, path: KeyPath, depth: int, value: Any) -> Any:
    if depth == len(path):
        return value
    key = path[depth]
    if isinstance(here, list):
        if not isinstance(key, int) or key >= len(here):
            known = f"0 to {len(here) - 1}" if here else "none, it is empty"
            raise ScenarioError(
                f"override {dotted(path)}: {dotted(path[:depth])} is a list and has no entry "
                f"{key} (entries: {known})"
            )
        return [_put(v, path, depth + 1, value) if i == key else v for i, v in enumerate(here)]
    if not isinstance(here, dict):
        raise ScenarioError(
            f"override {dotted(path)}: {dotted(path[:depth])} = {shown(here)} is not a table; "
            f"replace it as a whole, as in {dotted(path[:depth])}={{ kind = ... }}"
        )
    return {**here, str(key): _put(here.get(str(key), {}), path, depth + 1, value)}


def _split(text: str) -> tuple[str, Any]:
    key, equals, value = (word.strip() for word in text.partition("="))
    if not equals or not all(key.split(".")):
        raise ScenarioError(f"override {shorten(text)!r}, expected key.path=value")
    return key, _value(value)


def _value(text: str) -> Any:
    """The text as a TOML value if it is one, else as it stands."""
    try:
        table = parse_toml(f"value = {text}")
    except ValueError:
        return text
    return table["value"] if set(table) == {"value"} else text


def _key(word: str) -> str | int:
    return int(word) if word.isdecimal() and len(word) < 10 else word
