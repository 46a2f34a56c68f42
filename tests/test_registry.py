"""Parts by name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import metadata

import pytest

from simfl.errors import InputError, ScenarioError
from simfl.registry import Registry
from simfl.strategy import STRATEGIES
from simfl.wire import CODECS

CUPS = Registry("cup", "simfl.cups", {"tall": "fractions:Fraction", "gone": "simfl.no:Cup"})


class Installed(Registry):
    """A registry as it is where somebody installed two more cups."""

    def _installed(self) -> Sequence[metadata.EntryPoint]:  # type: ignore[override]
        pairs = (("mug", "decimal:Decimal"), ("tall", "decimal:Context"))
        return [metadata.EntryPoint(name, value, self.group) for name, value in pairs]


def test_a_short_name_finds_its_part() -> None:
    assert CUPS.get("tall").__name__ == "Fraction"


def test_a_dotted_path_finds_any_part() -> None:
    assert CUPS.get("decimal:Decimal").__name__ == "Decimal"


def test_an_unknown_name_is_an_error_with_the_nearest_and_all_others() -> None:
    with pytest.raises(ScenarioError) as caught:
        CUPS.get("tal")
    assert str(caught.value) == "'tal' is not a cup (did you mean 'tall'? options: gone, tall)"


@pytest.mark.parametrize("name", ["gone", "absent.module:Cup", "fractions:Cup", ":"])
def test_what_cannot_be_imported_is_an_error_that_says_what_was_tried(name: str) -> None:
    with pytest.raises(ScenarioError, match=r"^cup '.*cannot import"):
        CUPS.get(name)


def test_a_module_that_fails_while_it_is_imported_is_an_error(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it raises; a complaint of simfl's own passes as it is."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "crack.py").write_text("1 / 0", encoding="utf-8")
    (folder / "picky.py").write_text(
        "from simfl.errors import InputError\nraise InputError('no')", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(ScenarioError, match="division by zero"):
        CUPS.get("crack:Cup")
    with pytest.raises(InputError, match=r"^no$"):
        CUPS.get("picky:Cup")


def test_looking_a_name_up_imports_nothing() -> None:
    assert CUPS.target("gone") == "simfl.no:Cup"
    assert CUPS.target("this:that") == "this:that"
    assert "this" not in sys.modules


def test_installed_parts_are_found_and_cannot_displace_shipped_ones() -> None:
    cups = Installed("cup", "simfl.cups", CUPS.shipped)
    assert cups.names() == ["gone", "mug", "tall"]
    assert cups.get("mug").__name__ == "Decimal"
    assert cups.get("tall").__name__ == "Fraction"


def test_a_part_knows_the_name_it_is_found_under() -> None:
    cups = Installed("cup", "simfl.cups", CUPS.shipped)
    assert cups.name_of("fractions:Fraction") == "tall"
    assert cups.name_of("decimal:Decimal") == "mug"
    assert cups.name_of("no.such:Cup") == "no.such:Cup"


def test_a_dotted_name_of_a_shipped_part_that_moved_still_finds_it() -> None:
    assert STRATEGIES.get("simfl.strategy" + ".fedbuff:FedBuff") is STRATEGIES.get("fedbuff")
    assert CODECS.get("simfl.wire" + ".coarse:Sign") is CODECS.get("sign")
