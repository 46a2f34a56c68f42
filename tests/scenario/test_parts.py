"""Parts by kind: shipped, nested, by dotted path, from Python."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from simfl.errors import ScenarioError
from simfl.learn.trainers.jobs import TrainingOptions
from simfl.registry import Registry
from simfl.scenario import load, parse
from simfl.scenario.parts import (
    ALL,
    STRATEGY,
    Family,
    Foreign,
    Reading,
    option_fields,
    options_model,
    plain,
)
from simfl.scenario.sections import LearningOptions
from simfl.strategy.base import LocalRule, Strategy
from simfl.strategy.local_rules import Proximal
from simfl.units import Count, Share

SHIPPED = [(family, kind) for family in ALL for kind in family.registry.shipped]

MINE = """
from dataclasses import dataclass
from simfl.strategy.methods.fedbuff import FedBuff
from simfl.units import Count

@dataclass(frozen=True, kw_only=True)
class Mine(FedBuff):
    luck: Count = 3

def model(dataset, width=8, since=None):
    return (dataset, width)

"""


@dataclass(frozen=True)
class Cup:
    """A part with every shape of option."""

    size: Count
    rules: tuple[LocalRule, ...] = ()
    spare: LocalRule | None = None
    pair: tuple[int, float] = (1, 0.5)
    share: Share = 0.5

    def __call__(self) -> None:
        """Holds nothing."""

    def __post_init__(self) -> None:
        if self.size == 13:
            raise ValueError("thirteen brings bad luck")


CUPS = Registry("cup", "simfl.cups", {"cup": f"{__name__}:Cup"})
CUP = Family(f"{__name__}:CUPS")


def cup(given: Any) -> Any:
    return CUP.make(given, Reading())


def mistakes(given: Any) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Annotated[Any, CUP]).validate_python(given, context=Reading())
    (detail,) = caught.value.errors()
    return [str(problem) for problem in detail["ctx"]["problems"]]


@pytest.fixture
def mine(write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's own, within reach for this test alone."""
    monkeypatch.syspath_prepend(write("minemodule.py", MINE).parent)
    monkeypatch.delitem(sys.modules, "minemodule", raising=False)
    return "minemodule"


@pytest.mark.parametrize(("family", "kind"), SHIPPED)
def test_the_options_of_every_shipped_part_fit_into_a_scenario(family: Family, kind: str) -> None:
    part = family.registry.get(kind)
    family.make({"kind": kind, **NEEDED.get(kind, {})}, Reading())
    assert set(options_model(part).model_fields) == {f.name for f in option_fields(part)}
    assert "kind" not in options_model(part).model_fields


#: Options that have no default, by kind.
NEEDED: dict[str, dict[str, Any]] = {
    "hierarchical": {"edge": "fedavg"},
    "huggingface": {"path": "here"},
    "images": {"path": "here"},
    "table": {"path": "here.csv", "target": "y"},
    "text": {"path": "here"},
    "cosine": {"over": 10.0},
    "step": {"every": 10.0},
    "warm-up": {"over": 10.0},
}


@pytest.mark.parametrize(("family", "kind"), SHIPPED)
def test_every_shipped_part_comes_back_from_its_table(family: Family, kind: str) -> None:
    made = family.make({"kind": kind, **NEEDED.get(kind, {})}, Reading())
    table = plain(made)
    assert table["kind"] == kind
    assert plain(family.make(table, Reading())) == table


def test_options_of_every_shape_are_read_nested_parts_included() -> None:
    made = cup(
        {
            "kind": "cup",
            "size": 2,
            "rules": ["plain", {"kind": "proximal", "mu": 1}],
            "spare": "proximal",
            "pair": [2, 3],
        }
    )
    assert made.rules[1] == Proximal(mu=1.0)
    assert made.spare == Proximal()
    assert made.pair == (2, 3.0)
    assert plain(made)["rules"] == [{"kind": "plain"}, {"kind": "proximal", "mu": 1.0}]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, ["size is missing"]),
        ({"size": 13}, [": thirteen brings bad luck"]),
        ({"size": 1, "pair": [1]}, ["pair.1 is missing"]),
        ({"size": 1, "share": 0}, ["share = 0, expected a number above 0"]),
        (
            {"size": 1, "rules": [{"kind": "proximal", "mu": "x"}, {"kind": "proximal", "nu": 1}]},
            [
                'rules.0.mu = "x", expected a number',
                "rules.1.nu is not an option of proximal (did you mean 'mu'? options: kind, mu)",
            ],
        ),
    ],
)
def test_all_mistakes_in_a_part_are_found_where_they_are(
    options: dict[str, Any], said: list[str]
) -> None:
    assert mistakes({"kind": "cup", **options}) == said


def test_a_strategy_of_ones_own_is_named_by_dotted_path(night: Path, mine: str) -> None:
    scenario = load(night, [f"strategy.kind={mine}:Mine", "strategy.luck=7"])
    assert scenario.strategy.luck == 7
    assert scenario.foreign == (f"{mine}:Mine",)
    assert scenario.resolved()["strategy"]["kind"] == f"{mine}:Mine"


def test_its_options_are_checked_like_any_others(night: Path, mine: str) -> None:
    with pytest.raises(ScenarioError, match=r"strategy.lukc is not an option of minemodule:Mine"):
        load(night, [f"strategy.kind={mine}:Mine", "strategy.lukc=7"])


def test_a_function_takes_free_options_and_is_called_with_them(night: Path, mine: str) -> None:
    table = f'{{ kind = "{mine}:model", width = 5, since = 2024-02-29 }}'
    model = load(night, [f"learning.model={table}"]).learning.model
    assert model("data") == ("data", 5)
    assert plain(model) == {"kind": f"{mine}:model", "width": 5, "since": date(2024, 2, 29)}


def test_untrusted_code_is_named_and_not_imported(night: Path, mine: str) -> None:
    scenario = load(
        night, [f"strategy.kind={mine}:Mine", "wire.up=['a.b:C', 'topk']"], trusted=False
    )
    assert scenario.foreign == (f"{mine}:Mine", "a.b:C")
    assert mine not in sys.modules
    assert scenario.strategy == Foreign(f"{mine}:Mine", scenario.strategy.options)
    with pytest.raises(ScenarioError, match="was not imported"):
        scenario.strategy()


def test_a_dotted_path_to_a_shipped_part_is_shortened(night: Path) -> None:
    scenario = load(night, ["strategy.kind=simfl.strategy.methods.fedbuff:FedBuff"])
    assert scenario.resolved()["strategy"]["kind"] == "fedbuff"


def test_options_of_a_type_that_toml_lacks_are_refused_by_name() -> None:
    @dataclass(frozen=True)
    class Odd:
        thing: Path.__class__  # type: ignore[name-defined]
        other: object.__init__  # type: ignore[valid-type]

    with pytest.raises(ScenarioError, match="Odd has options no scenario can hold"):
        options_model(Odd)


def test_local_training_has_the_options_that_trainers_take() -> None:
    """They are repeated in [learning], so that reading a scenario need not load torch."""
    trained = options_model(TrainingOptions).model_fields
    ours = LearningOptions.model_fields
    parts = {"objective", "optimizer", "schedule", "train"}
    assert parts < trained.keys() & ours.keys()
    for name, option in trained.items():
        if name in parts:
            continue
        assert (ours[name].annotation, ours[name].metadata, ours[name].default) == (
            option.annotation,
            option.metadata,
            option.default,
        )


class Half:
    """A strategy that somebody began to write."""

    def step(self, state: Any, server: Any, updates: Any) -> None: ...


@pytest.mark.parametrize("given", [Half(), Half])
def test_a_strategy_that_lacks_what_the_engine_asks_for_is_named_with_what_it_lacks(given) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        STRATEGY.make(given, Reading())
    (problem,) = caught.value.context["problems"]
    assert str(problem).endswith("Half is no strategy: it has no `init`, no `local`")


class WithoutRule(Strategy):
    """Complete but for what it has in the place of a local rule."""

    local = None

    def init(self, params: Any) -> None: ...

    def step(self, state: Any, server: Any, updates: Any) -> Any: ...


def test_a_strategy_whose_local_rule_is_none_is_refused_before_the_run() -> None:
    scene = {
        "fleet": {"group": [{"device": "phone-mid", "count": 2}]},
        "learning": {"dataset": "digits", "model": "mlp"},
        "stop": {"versions": 1},
    }
    with pytest.raises(ScenarioError, match=r"strategy.local: NoneType is no local rule: it has"):
        parse(scene | {"strategy": WithoutRule()})
