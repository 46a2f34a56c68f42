"""What a scenario will do, said before it does it."""

from __future__ import annotations

from typing import Any

from simfl.engine.explain import Explanation, explain
from simfl.scenario import load, parse

GROUPS = [
    {
        "name": "sloth",
        "compute": {"kind": "constant", "s": 90},
        "network": {"down_mbps": 8, "up_mbps": 0.8, "latency_s": 0.5},
        "count": 2,
        "faults": {"drop_probability": 0.1},
    },
    {"name": "hare", "compute": {"gflops": 1}, "count": 3, "presence": "diurnal"},
]
PARAMETERS = 250_000 - 16  # with framing, exactly a megabyte


def told(**changes: Any) -> Explanation:
    table = {
        "name": "fable",
        "fleet": {"group": GROUPS},
        "learning": {
            "dataset": "none",
            "parameters": PARAMETERS,
            "examples": 20,
            "flops_per_example": 1e8,
        },
        "strategy": {"kind": "fedbuff", "concurrency": 4, "epochs": 3},
        "evaluate": {"every_s": 60},
        "stop": {"after_s": 7200, "versions": 50},
        **changes,
    }
    return explain(parse(table))


def test_seconds_of_each_phase_follow_from_bytes_flops_and_laws() -> None:
    """A megabyte at 8 Mbit/s is 1 s, at 0.8 Mbit/s 10 s; 3 x 20 x 10^8 FLOP at 10^9/s are 6 s."""
    assert told().classes == [
        {
            "class": "sloth",
            "devices": "2",
            "network": "8/0.8 Mbit/s",
            "presence": "always",
            "download": "1.5 s",
            "train": "1.5 min",
            "upload": "10.5 s",
            "task": "1.7 min",
        },
        {
            "class": "hare",
            "devices": "3",
            "network": "none",
            "presence": "diurnal",
            "download": "0 s",
            "train": "6 s",
            "upload": "0 s",
            "task": "6 s",
        },
    ]


def test_facts_are_said_in_plain_words() -> None:
    explanation = told()
    assert explanation.title == "fable: fedbuff on 5 devices, seed 0"
    assert explanation.facts == {
        "learning": "nothing, timing only; 20 to 20 examples a device (median 20)",
        "a task": "3 epoch(s) in batches of 10: in the median 6 steps and 6 GFLOP",
        "bytes": "1 MB down, 1 MB up, framing included, extras not",
        "at once": "concurrency = 4 of 5 devices",
        "server": "every transfer has its device's own rate",
        "faults": "sloth: drop_probability = 0.1; hare: on_offline = lost",
        "evaluated": "at the start, every 60 s, at the end",
        "ends": "after 2 h, or after 50 versions",
        "models held": "no models are held",
    }


def test_codecs_and_shared_links_are_accounted_for() -> None:
    facts = told(
        wire={"up": [{"kind": "quantize", "bits": 8}]},
        server={"sharing": "max-min", "up_mbps": 100},
    ).facts
    assert facts["bytes"].startswith("1 MB down, 250 kB up (25.0 % of dense)")
    assert facts["server"] == "transfers share up 100 Mbit/s by max-min fairness"


def test_a_scenario_that_learns_tells_its_data_and_the_models_it_holds() -> None:
    facts = told(
        learning={"dataset": "digits", "model": "softmax", "trainer": "batched"},
        strategy={"kind": "fedavg", "cohort": 2, "steps": 7},
        stop={"target": {"accuracy": 0.9}, "wall_s": 300, "updates": 9},
    ).facts
    assert facts["learning"].startswith("digits by softmax; iid partition: 288 to 289 examples")
    assert facts["a task"].startswith("7 steps in batches of 10: in the median 7 steps")
    assert facts["at once"] == "cohort = 2 of 5 devices"
    assert facts["ends"] == "after 9 updates, or at accuracy 0.9, or after 5 min of computing"
    assert facts["trainer"] == "batched: as asked"
    assert facts["models held"] == (
        "at most 3 versions of the model, 2.6 kB each, "
        "and results of 2 task(s) that wait to be used"
    )


def test_cells_and_idle_settings_are_told() -> None:
    facts = explain(load("fleets/iot-gateways", {"fleet.group.1.faults.retry.times": 2})).facts
    assert facts["server"] == "transfers share their cells by max-min fairness"
    assert facts["cells"].startswith("20 x gateway (down 10 Mbit/s, up 2 Mbit/s, down for 15 min")
    assert facts["without effect"].startswith("fleet.group.1.faults.retry")


def test_the_clock_alone_is_explained_without_loading_what_is_learnt() -> None:
    bare = explain(load("quickstart"), timing=True)
    assert bare.title.startswith("quickstart: fedbuff on 100 devices")
    assert "at once" in bare.facts
    assert not {"learning", "bytes", "a task"} & bare.facts.keys()
    assert [row["class"] for row in bare.classes] == ["phone-mid", "phone-low", "raspberry-pi-4"]
