"""Every mistake is told once, with its place and what would do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simfl.errors import CatalogueError, InputError, ScenarioError
from simfl.scenario import load, parse
from simfl.scenario.complain import KeyPath, dotted

Complaint = Callable[..., str]


def tables(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """Every table inside a value, with its key path."""
    if isinstance(value, dict):
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, dict | list):
            yield from tables(inner, (*path, key))


def misspelt(table: dict[str, Any]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """(key path with the typo, key, typo, the scenario with it), for every key."""
    for path, inner in tables(table):
        for key in inner:
            changed = copy.deepcopy(table)
            place = changed
            for step in path:
                place = place[step]
            typo = f"{key[:-2]}{key[-1]}{key[-2]}" if len(key) > 2 else f"{key}x"
            typo = f"{key}x" if typo == key else typo
            place[typo] = place.pop(key)
            yield dotted((*path, typo)), key, typo, changed


def test_a_typo_in_any_key_is_caught_and_corrected(night: Path) -> None:
    """Of the whole resolved example: several tables in several places, about a hundred keys."""
    wrong, seen = [], 0
    for path, key, typo, table in misspelt(load(night).resolved()):
        if path.startswith("sweep"):
            continue
        seen += 1
        try:
            parse(table)
            wrong.append(f"{path} was accepted")
        except InputError as error:
            corrected = f"{path} is not an option" in str(error) and f"mean {key!r}" in str(error)
            missing = f"{path.removesuffix(typo)}{key} is missing" in str(error)
            if not (corrected or (key == "kind" and missing)):
                wrong.append(str(error))
    assert wrong == []
    assert seen > 90


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ('strategy.buffer="20"', 'strategy.buffer = "20", expected a whole number'),
        ("strategy.buffer=2.5", "strategy.buffer = 2.5, expected a whole number"),
        ("strategy.buffer=true", "strategy.buffer = true, expected a whole number"),
        ("strategy.buffer=0", "strategy.buffer = 0, expected a number not below 1"),
        ("strategy.server_lr=0", "strategy.server_lr = 0, expected a number above 0"),
        ("strategy.epochs=fast", 'strategy.epochs = "fast", expected a number'),
        ("strategy.local.mu=-1", "strategy.local.mu = -1, expected a number not below 0"),
        ("learning.lr=nan", "learning.lr = NaN, expected a finite number"),
        ("learning.lr=inf", "learning.lr = Infinity, expected a finite number"),
        ("learning.lr=true", "learning.lr = true, expected a number"),
        ("learning.momentum=1.5", "learning.momentum = 1.5, expected a number not above 1"),
        (
            "learning.model.hidden=[1.5]",
            "learning.model.hidden.0 = 1.5, expected a whole number",
        ),
        ("learning.model.hidden=3", "learning.model.hidden = 3, expected a list"),
        (
            "learning.device=tpu",
            "learning.device = \"tpu\", expected 'cpu', 'cuda', 'mps' or 'auto'",
        ),
        ("server.down_mbps=-3", "server.down_mbps = -3, expected a number above 0"),
        ("fleet.group.0.count=0", "fleet.group.0.count = 0, expected a number not below 1"),
        ("fleet.group=[]", "fleet.group = [], expected at least 1 of them"),
        ("fleet.group=3", "fleet.group = 3, expected a list"),
        ("stop=3", "stop = 3, expected a table"),
        ("name=a/b", 'name = "a/b", expected letters, digits'),
        ("name=2024-01-01", 'name = "2024-01-01", expected text'),
        ("evaluate.at_start=1", "evaluate.at_start = 1, expected true or false"),
        ("wire.up=topk", 'wire.up = "topk", expected a list'),
        ("wire.up.0.keep=2", "wire.up.0.keep = 2, expected a number not above 1"),
        ("wire.up.0.keepp=1", "wire.up.0.keepp is not an option of topk (did you mean 'keep'?"),
        ("strategy=5", "strategy = 5, expected the name of a strategy, or a table"),
        ("strategy={}", "strategy.kind is missing: expected the name of a strategy"),
        ("strategy=fedbufff", "strategy: 'fedbufff' is not a strategy (did you mean 'fedbuff'?"),
        ("strategy.kind=fedbufff", "strategy.kind: 'fedbufff' is not a strategy"),
        ("strategy.local=proximl", "strategy.local: 'proximl' is not a local rule"),
        ("strategy.steps=3", "strategy: epochs = 5.0 and steps = 3 contradict each other"),
        (
            "fleet.group.1.presence=dirnal",
            "fleet.group.1.presence.kind = \"dirnal\" is not known (did you mean 'diurnal'?",
        ),
        (
            "fleet.group.2.compute={ gflop = 5 }",
            "fleet.group.2.compute.gflop is not an option of [fleet.group.compute] (did you mean "
            "'gflops'?",
        ),
        ("fleet.group.2.compute={}", "fleet.group.2.compute.kind is missing (options: constant"),
        ("fleet.group.0={ count = 3 }", "fleet.group.0: a group needs `device`"),
        ("fleet.group.0.device=phone-mdi", "fleet.group.0.device: 'phone-mdi' is not a device"),
        ("fleet.group.0.network=let", "fleet.group.0.network: 'let' is not a network class"),
        (
            "fleet.group.0.network=phone-mid",
            "fleet.group.0.network: 'phone-mid' is not a network class",
        ),
        (
            "strategy.concurrency=111",
            "strategy.concurrency = 111 is impossible concurrency: the fleet has 110 devices",
        ),
        (
            'strategy={ kind = "fedavg", cohort = 200 }',
            "strategy.cohort = 200 is impossible concurrency",
        ),
        ("stop={}", "stop: the run would never end: give at least one of after_s"),
        ("stop.target={}", "stop.target: give one metric and its value"),
        ("stop.target={ accuracy = 0.9, loss = 1 }", "stop.target: give one metric and its value"),
        ("stop.target.f1=0.5", "stop.target.f1 is not an option (options: accuracy, loss)"),
        ("evaluate={}", "stop.target: is never looked at; give evaluate.every_s"),
        ('wire.up=["quantize", "topk"]', "wire.up: "),
        ("learning.model=absent:Model", "learning.model: model 'absent:Model': cannot import"),
        (
            "strategy=simfl.wire.sparse:TopK",
            "strategy: 'simfl.wire.sparse:TopK' is no strategy: it has no `init`, no",
        ),
        (
            "learning.model=simfl.wire.sparse:TopK",
            "learning.model: 'simfl.wire.sparse:TopK' is no model: it has no `__call__`",
        ),
        ("wire.up=[3]", "wire.up.0 = 3, expected the name of a codec"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_would_do(
    override: str, said: str, complaint: Complaint
) -> None:
    told = complaint(override)
    assert told.startswith(said)
    assert "\n" not in told
    assert "more mistake" not in told


def test_of_several_mistakes_the_first_is_told_and_the_others_counted(
    complaint: Complaint,
) -> None:
    told = complaint("seed=-1", "evaluate.every=3", "strategy.local.mv=1", "strategy.bufer=2")
    assert told.startswith("evaluate.every is not an option of [evaluate]")
    assert told.endswith("(and 3 more mistakes)")


def test_an_option_in_the_wrong_section_is_sent_home(complaint: Complaint) -> None:
    assert complaint("learning.epochs=2").endswith("; [strategy] has an option of this name")
    assert complaint("strategy.lr=0.1").endswith("; [learning] has an option of this name")
    assert "of this name" not in complaint("strategy.bufer=2")


def test_a_mistake_made_by_an_override_is_blamed_on_it(night: Path) -> None:
    with pytest.raises(ScenarioError, match=r"night.toml with strategy.local overridden: strat"):
        load(night, ["strategy.local={ mu = 1 }"])


def test_an_unknown_class_is_an_error_of_the_catalogue(night: Path) -> None:
    with pytest.raises(CatalogueError):
        load(night, ["fleet.group.0.device=phone-x"])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "learning.examples=[1, 2]",
            "learning.examples has 2 entries, expected one for each",
        ),
        ("stop.target.accuracy=0.5", 'stop.target: cannot be met, since dataset = "none"'),
        ("learning.lr=0.5", "learning.lr is not an option of [learning]"),
        ("learning.examples=many", 'learning.examples = "many", expected a whole number or a list'),
    ],
)
def test_a_fleet_that_learns_nothing_has_rules_of_its_own(
    override: str, said: str, complaint: Complaint
) -> None:
    learning = '{ dataset = "none", parameters = 10, examples = 3, flops_per_example = 5 }'
    assert complaint(f"learning={learning}", "stop={ versions = 3 }", override).startswith(said)
