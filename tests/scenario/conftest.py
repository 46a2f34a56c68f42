"""The example scenario of the documentation, and a way to make mistakes in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simfl.errors import InputError
from simfl.scenario import load

NIGHT = Path(__file__).parent / "night.toml"


@pytest.fixture
def night() -> Path:
    return NIGHT


@pytest.fixture
def complaint() -> Callable[..., str]:
    """What is said of the example with these overrides."""

    def told(*overrides: str, **values: Any) -> str:
        with pytest.raises(InputError) as caught:
            load(NIGHT, overrides or values)
        return str(caught.value).removeprefix(str(NIGHT)).partition(": ")[2]

    return told


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a file beside the others of the test."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write
