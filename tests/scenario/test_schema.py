"""The options of everything, as machines and people read them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from simfl.scenario import load
from simfl.scenario.schema import Option, options_of, schema
from simfl.strategy.methods.fedbuff import FedBuff

jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture(scope="module")
def validator() -> Any:
    return jsonschema.Draft202012Validator(schema())


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_the_schema_takes_what_a_scenario_may_say(validator: Any, night: Path) -> None:
    written = tomllib.loads(night.read_text(encoding="utf-8"))
    assert list(validator.iter_errors(written)) == []
    assert list(validator.iter_errors(load(night).resolved())) == []
    named = {**written, "strategy": "fedavg", "wire": {"up": [{"kind": "mine.codecs:Best"}]}}
    assert list(validator.iter_errors(named)) == []


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("strategy", {"bufer": 3}),
        ("strategy", {"buffer": 0}),
        ("strategy", {"local": {"kind": "proximal", "mu": -1}}),
        ("learning", {"dataset": "absent"}),
        ("stop", {"target": {"f1": "high"}}),
        ("server", {"sharing": "fair"}),
    ],
)
def test_the_schema_refuses_what_a_scenario_refuses(
    validator: Any, night: Path, section: str, change: dict[str, Any]
) -> None:
    written = tomllib.loads(night.read_text(encoding="utf-8"))
    written[section] = {**written[section], **change}
    assert not validator.is_valid(written)


def test_people_read_options_with_bounds_and_defaults() -> None:
    told = {option.name: option for option in options_of(FedBuff)}
    assert told["buffer"] == Option("buffer", "whole number >= 1", "10")
    assert told["normalise"].type == '"count" | "weights" | "none"'
    assert told["local"] == Option("local", "local rule", "plain")
    assert told["weighting"].default == "polynomial (a = 0.5, offset = 0)"
    assert told["steps"] == Option("steps", "whole number >= 1", "-")
