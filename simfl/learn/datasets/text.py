"""Text by speaker: next-character prediction, one speaking role a user (McMahan et al., 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simfl.errors import DataError
from simfl.lazy import torch
from simfl.learn.datasets.base import DataDir, Dataset
from simfl.learn.datasets.formats import unpacked
from simfl.units import Count, Fraction


@dataclass(frozen=True)
class Shakespeare:
    """Tiny Shakespeare (A. Karpathy, 2015) by speaking role, in windows of `window` characters.

    x: (n, window) characters, y: the same shifted by one. A role's words are joined and cut into
    windows that share no target; roles too short for one are left out. The last fifth of a
    role's windows, rounded down, are test examples. Reads `shakespeare/tinyshakespeare.txt`.
    """

    window: Count = 80

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        path = source.need("shakespeare", ["tinyshakespeare.txt", "input.txt"])
        try:
            roles = speeches(unpacked(path).decode("utf-8"))
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error
        return windowed("shakespeare", path, roles, self.window, 0.2)


@dataclass(frozen=True)
class Text:
    """Text files in windows of `window` characters, to predict the next one of each.

    path: a file, or a folder whose `.txt` files are one user each; see `Shakespeare` for windows.
    test_share: of each file's windows, its last ones.
    """

    path: str
    window: Count = 80
    test_share: Fraction = 0.2

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        root = source.file(self.path)
        files = sorted(root.rglob("*.txt")) if root.is_dir() else [root]
        if not files:
            raise DataError(f"{root}: no files *.txt in this folder")
        try:
            texts = {str(file): unpacked(file).decode("utf-8-sig") for file in files}
        except UnicodeDecodeError as error:
            raise DataError(f"{root}: not all of it is text in UTF-8 ({error})") from error
        return windowed(root.name, root, texts, self.window, self.test_share)


def windowed(
    name: str, path: Path, texts: dict[str, str], window: int, test_share: float
) -> Dataset:
    """Each text is a user's: its windows, of which the last ones are test examples.

    test_share: of a text's windows, rounded down. Raises DataError where there are too few.
    """
    alphabet = sorted({*"".join(texts.values())})
    cut = [_windows(text, alphabet, window) for text in texts.values()]
    cut = [part for part in cut if len(part)]
    held = [int(test_share * len(part) + 1e-9) for part in cut]
    train = [part[: len(part) - n] for part, n in zip(cut, held, strict=True)]
    test = [part[len(part) - n :] for part, n in zip(cut, held, strict=True)]
    if not sum(held) or not sum(map(len, train)):
        raise DataError(
            f"{path}: no text is long enough, expected one with {round(1 / max(test_share, 1e-3))} "
            f"windows of {window} characters"
        )
    users = np.repeat(np.arange(len(train)), [len(part) for part in train])
    (x, y), (x_test, y_test) = _pairs(train), _pairs(test)
    return Dataset(name, x, y, x_test, y_test, len(alphabet), users, sequence=True)


def speeches(text: str) -> dict[str, str]:
    """Role -> all that it says, in order. A block is "NAME:" and lines, then a blank line."""
    roles: dict[str, list[str]] = {}
    for block in text.replace("\r\n", "\n").strip().split("\n\n"):
        name, _, words = block.strip("\n").partition("\n")
        if not name.endswith(":"):
            raise ValueError(f"expected a speaker's name and a colon, found {name[:40]!r}")
        roles.setdefault(name[:-1], []).append(words)
    return {name: "\n".join(lines) for name, lines in roles.items()}


def _windows(text: str, alphabet: list[str], window: int) -> np.ndarray:
    """(n, window + 1) character codes; each window's last character is the next one's first."""
    code = {character: i for i, character in enumerate(alphabet)}
    codes = np.array([code[character] for character in text], dtype=np.int64)
    n = max(0, (len(codes) - 1) // window)
    starts = window * np.arange(n)[:, None]
    return codes[starts + np.arange(window + 1)]


def _pairs(parts: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    rows = torch.from_numpy(np.concatenate(parts))
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
