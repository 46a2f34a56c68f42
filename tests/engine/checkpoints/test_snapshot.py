"""Snapshots give back what they were given, and can do nothing else."""

from __future__ import annotations

import json
from array import array
from collections import deque
from dataclasses import dataclass, field
from math import inf, nan
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simfl.clock.events import Clock
from simfl.engine.checkpoints.snapshot import Reader, Writer
from simfl.errors import InputError, PluginError
from simfl.messages import Task
from simfl.params import Params
from simfl.strategy.base import Wait


def back(value: Any, **known: Any) -> Any:
    """There and back through JSON text."""
    writer = Writer(known)
    text = json.dumps(writer.tree(value))
    return Reader(known, writer.arrays).value(json.loads(text))


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.integers() | st.text(), inner),
    max_leaves=20,
)


@given(plain)
def test_plain_values_come_back(value):
    assert back(value) == value


def test_odd_values_come_back():
    assert back({(2, True), (1, False)}) == {(2, True), (1, False)}
    value = {"nan": nan, "inf": -inf, ("a", 1): deque([1, 2], maxlen=2), "w": Wait(arrivals=3)}
    found = back(value)
    assert found["nan"] != found["nan"]
    assert found["inf"] == -inf
    assert found[("a", 1)] == deque([1, 2])
    assert found[("a", 1)].maxlen == 2
    assert found["w"] == Wait(arrivals=3)
    assert isinstance(found["w"], Wait)


def test_arrays_and_params_come_back_to_the_bit():
    params = Params.from_named({"w": torch.randn(3, 2), "b": torch.tensor([nan, inf])})
    found = back([params, np.arange(3, dtype=np.int16), array("i", [4, 5]), b"\0\xff"])
    assert found[0].layout == params.layout
    assert found[0].flat.numpy().tobytes() == params.flat.numpy().tobytes()
    assert found[1].dtype == np.int16
    assert found[2] == array("i", [4, 5])
    assert found[3] == b"\0\xff"


def test_what_is_shared_stays_shared_and_cycles_close():
    base = Params.from_named({"w": torch.ones(2)})
    task = Task(0, 1, 0, 0, base, 0.0)
    task.plan = {"task": task}
    found, again = back([task, base])
    assert found.base is again
    assert found.plan["task"] is found


def test_known_objects_are_kept_by_name():
    task = Task(0, 1, 0, 0, None, 0.0)
    assert back([task], it=task)[0] is task


def test_events_to_come_are_kept_as_data():
    clock = Clock()
    clock.handlers["test.tick"] = print
    clock.at(3.0, 0, 7, "test.tick", [1])
    ((due_s, _, alarm),) = back(clock.pending(), clock=clock)
    assert (due_s, alarm.handler, alarm._value, alarm.env) == (3.0, "test.tick", [1], clock)


def test_methods_are_no_data():
    with pytest.raises(PluginError, match="a checkpoint cannot hold a"):
        Writer({}).tree([Clock().advance])


@pytest.mark.parametrize("value", [object(), lambda: 0, np.array([object()])])
def test_what_cannot_be_kept_is_refused(value):
    with pytest.raises(PluginError, match="a checkpoint cannot hold a"):
        Writer({}).tree([value])


@dataclass
class Own:
    items: list[int] = field(default_factory=list)


def test_dataclasses_of_plug_ins_come_back():
    assert back(Own([1])) == Own([1])


@dataclass(slots=True)
class Slotted(Own):
    more: dict[int, Own] = field(default_factory=dict)


def test_states_with_slots_come_back_and_what_they_share_stays_shared():
    inner = Own([2])
    found = back(Slotted([1], {7: inner, 8: inner}))
    assert found == Slotted([1], {7: Own([2]), 8: Own([2])})
    assert found.more[7] is found.more[8]


def test_a_class_that_cannot_be_found_again_is_refused_when_it_is_written():
    @dataclass
    class Hidden:
        x: int = 0

    with pytest.raises(PluginError, match="Hidden, a class that is not at the top of a module"):
        Writer({}).tree(Hidden())


@pytest.mark.parametrize(
    "tree",
    [
        {"id": 0, "type": "os:system", "is": ["true"]},
        {"id": 0, "type": "subprocess:Popen", "is": {}},
        {"id": 0, "type": "builtins:eval", "is": []},
        {"id": 0, "type": "keep", "is": []},
        {"id": 0, "type": "not_there:Class", "is": {}},
        {"id": 0, "type": "tensor", "is": "7"},
        {"again": 5},
        {"known": "nobody"},
        {"method": "system", "of": {"known": "os"}},
        {"method": "__class__", "of": {"id": 0, "type": "list", "is": []}},
        {"type": "list"},
        {"id": 0, "type": "deque", "is": []},
        {"id": 0, "type": "deque", "is": [10**30, []]},
        {"id": 0, "type": "dict", "is": [[{"id": 1, "type": "list", "is": []}, 1]]},
        {"id": 0, "type": "simfl.strategy.base:Wait", "is": 3},
        {"id": 0, "type": "simfl.messages:Task", "is": {"no": 1}},
        # A property that imports a module, and a call that would look up any code by name.
        {
            "method": "registry",
            "of": {
                "id": 0,
                "type": "simfl.scenario.parts:Family",
                "is": {"home": "trap:Trap", "duties": ["x"]},
            },
        },
        {"method": "__call__", "of": {"id": 0, "type": "simfl.scenario.parts:Foreign", "is": {}}},
    ],
)
def test_hostile_trees_are_refused(tree):
    import os

    with pytest.raises(InputError, match="damaged snapshot"):
        Reader({"os": os}, {}).value(tree)


words = st.sampled_from(
    [
        "id",
        "type",
        "is",
        "known",
        "again",
        "method",
        "of",
        "list",
        "tuple",
        "dict",
        "deque",
        "set",
        "tensor",
        "array",
        "array.i",
        "bytes",
        "frozenset",
        "simfl.messages:Task",
        "0",
        "clock",
        "advance",
    ]
)
trees = st.recursive(
    words | st.integers(-2, 3) | st.none() | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(words, inner, max_size=4)
        | st.fixed_dictionaries({"id": st.integers(0, 3), "type": words, "is": inner})
    ),
    max_leaves=12,
)


@given(trees)
def test_any_tree_is_a_value_or_damage(tree):
    try:
        Reader({"clock": Clock()}, {"0": np.arange(3)}).value(tree)
    except InputError:
        return
