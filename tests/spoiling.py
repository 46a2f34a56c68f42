"""What can be done to files by mistake or in anger; shared by the tests and the study."""

from __future__ import annotations

import copy
import random
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from simfl.scenario.reading import shipped_names

ROOT = Path(__file__).parents[1]
SHIPPED = [ROOT / "scenarios" / f"{name}.toml" for name in shipped_names()]

KeyPath = tuple[str | int, ...]

_LETTERS = "abcdefghijklmnopqrstuvwxyz_"


@dataclass(frozen=True)
class Typo:
    """A scenario in which one key is misspelt. kind: what happened to its letters."""

    path: KeyPath
    kind: str
    wrong: str
    table: dict[str, Any]

    @property
    def right(self) -> str:
        return str(self.path[-1])

    def __str__(self) -> str:
        return f"{self.wrong} for {'.'.join(map(str, self.path))}"


def keys_of(table: object, path: KeyPath = ()) -> list[KeyPath]:
    """The paths of all keys of a TOML table, those of data (a sweep's own keys) left out."""
    found: list[KeyPath] = []
    if isinstance(table, dict):
        for key, value in table.items():
            if path != ("sweep",):
                found.append((*path, key))
            found += keys_of(value, (*path, key))
    if isinstance(table, list):
        for i, value in enumerate(table):
            found += keys_of(value, (*path, i))
    return [key for key in found if isinstance(key[-1], str)]


def read(path: Path) -> dict[str, Any]:
    """A shipped scenario's own tables; what it extends is named by its full path."""
    table = tomllib.loads(path.read_text("utf-8"))
    if "extends" in table:
        table["extends"] = str((path.parent / table["extends"]).resolve())
    return table


def typos(path: Path, kinds: int, rng: random.Random) -> Iterator[Typo]:
    """Every key of a scenario, misspelt in so many of the ways of `slips`, drawn for each."""
    table = read(path)
    for key in keys_of(table):
        siblings = set(_at(table, key[:-1]))
        slips = [s for s in _slips(str(key[-1]), rng) if s[1] not in siblings]
        for kind, wrong in rng.sample(slips, min(kinds, len(slips))):
            yield Typo(key, kind, wrong, _renamed(table, key, wrong))


def _slips(word: str, rng: random.Random) -> list[tuple[str, str]]:
    """One of each kind of slip of the fingers: a letter left out, doubled, swapped, wrong."""
    at = rng.randrange(len(word))
    other = rng.choice([letter for letter in _LETTERS if letter != word[at]])
    found = [
        ("doubled", word[: at + 1] + word[at:]),
        ("wrong", word[:at] + other + word[at + 1 :]),
    ]
    if len(word) > 3:
        found.append(("left out", word[:at] + word[at + 1 :]))
    pairs = [i for i in range(len(word) - 1) if word[i] != word[i + 1]]
    if len(word) > 3 and pairs:
        i = rng.choice(pairs)
        found.append(("swapped", word[:i] + word[i + 1] + word[i] + word[i + 2 :]))
    return [(kind, wrong) for kind, wrong in found if wrong != word]


def _at(table: Any, path: KeyPath) -> Any:
    for key in path:
        table = table[key]
    return table


def _renamed(table: dict[str, Any], path: KeyPath, wrong: str) -> dict[str, Any]:
    whole = copy.deepcopy(table)
    here = _at(whole, path[:-1])
    renamed = {(wrong if key == path[-1] else key): value for key, value in here.items()}
    here.clear()
    here.update(renamed)
    return whole


#: Ways to spoil a file: nothing left, a part left, one bit turned, noise, or a folder in its place.
DAMAGES = ("empty", "cut", "flip", "noise", "gone", "folder")


def spoil(path: Path, how: str, rng: random.Random) -> None:
    """Damages a file in place."""
    whole = path.read_bytes()
    if how in ("gone", "folder"):
        path.unlink()
        if how == "folder":
            path.mkdir()
    elif how == "flip" and whole:
        spoilt = bytearray(whole)
        spoilt[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(spoilt)
    elif how == "cut":
        path.write_bytes(whole[: rng.randrange(max(1, len(whole)))])
    else:
        path.write_bytes(b"" if how == "empty" else rng.randbytes(len(whole) or 100))


def told(typo: Typo, path: Path) -> str:
    """What simfl says about a misspelt scenario; nothing if it takes it. Reads no file twice."""
    from simfl.errors import InputError
    from simfl.scenario import parse, reading

    try:
        table = dict(typo.table)
        if "extends" in table:
            table = reading.merged(_parent(table.pop("extends")), table)
        parse({"name": path.stem, **table}, path=path)
    except InputError as error:
        return str(error)
    return ""


@cache
def _parent(path: str) -> dict[str, Any]:
    from simfl.scenario import reading

    return reading.read(Path(path))


def suggested(typo: Typo, said: str) -> bool:
    """The right word is the one that is suggested; one letter for another has no nearest."""
    if len(typo.right) == 1:
        return re.search(rf"options: .*\b{typo.right}\b", said) is not None
    return f"did you mean {typo.right!r}?" in said
