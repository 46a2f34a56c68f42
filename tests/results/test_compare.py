from __future__ import annotations

import math

import pytest
from rich.console import Console

from simfl.errors import InputError
from simfl.results.compare import as_markdown, as_rich, as_text, compare, distinct_names


@pytest.fixture
def runs(run_folder):
    """One that reaches 0.9 after an hour, one after a quarter of it, one never."""

    def run(name, reached_s, accuracy=0.9):
        at_end = {"time_s": 7200.0, "accuracy": accuracy}
        there = {"time_s": reached_s, "accuracy": accuracy, "version": 7, "down_bytes": 3000,
                 "up_bytes": 1000}  # fmt: skip
        task = {"staleness": 2, "applied_version": 7}
        lost = {"outcome": "lost", "task": 1}
        return run_folder(name, name, tasks=[task, lost], evaluations=[there, at_end])

    return [run("slow", 3600.0), run("quick", 900.0), run("never", 60.0, accuracy=0.5)]


def test_a_row_holds_costs_to_the_target_and_the_run_s_summary(runs) -> None:
    table = compare(runs, {"accuracy": 0.9})
    assert table.index.tolist() == ["slow", "quick", "never"]
    assert table.loc["quick"].to_dict() == {
        "strategy": "quick", "speedup": 4.0, "speedup_bound": 4.0, "to_target_s": 900.0,
        "to_target_versions": 7.0, "to_target_down_bytes": 3000.0, "to_target_up_bytes": 1000.0,
        "virtual_s": 7200.0, "versions": 0, "down_bytes": 20, "up_bytes": 40,
        "final_accuracy": 0.9, "staleness_p50": 2, "staleness_p95": 2, "staleness_max": 2,
        "wasted_device_s": 6.0, "wasted_share": 0.5, "in_flight_share": 0.0,
    }  # fmt: skip


def test_the_reference_is_the_first_run_or_the_one_named(runs) -> None:
    by_first = compare(runs, {"accuracy": 0.9})["speedup"]
    by_quick = compare(runs, {"accuracy": 0.9}, reference="quick")["speedup"]
    assert by_first.tolist() == [1.0, 4.0, 0.0]
    assert by_quick.tolist() == [0.25, 1.0, 0.0]


def test_a_censored_run_bounds_the_speedup(runs) -> None:
    """It was still short of the target after two hours, so the others were sooner by more."""
    table = compare(runs[::-1], {"accuracy": 0.9})
    assert math.isnan(table.loc["never", "speedup"])
    assert table.loc["quick", ["speedup", "speedup_bound"]].tolist() == [math.inf, 8.0]
    assert compare(runs, {"accuracy": 0.9}).loc["never", "speedup_bound"] == 0.5


def test_without_a_target_whole_runs_are_compared(runs) -> None:
    table = compare(runs)
    assert "speedup" not in table
    assert "to_target_s" not in table
    assert "virtual time" in as_text(table)


def test_an_unknown_reference_is_refused(runs) -> None:
    with pytest.raises(InputError, match=r"'quik' is not one of the runs \(did you mean 'quick'"):
        compare(runs, {"accuracy": 0.9}, reference="quik")


def test_no_runs_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="at least one run folder"):
        compare([])


def test_runs_of_one_name_are_told_apart(runs) -> None:
    slow = runs[0]
    assert list(distinct_names([slow, slow])) == ["slow #1", "slow #2"]
    quick = runs[1]
    quick.scenario["name"] = "slow"
    assert list(distinct_names([slow, quick])) == ["slow (slow)", "slow (quick)"]


def test_text_says_quantities_as_people_read_them(runs) -> None:
    text = as_text(compare(runs, {"accuracy": 0.9}))
    assert [line.split()[:6] for line in text.splitlines()[1:]] == [
        ["slow", "slow", "1", "x", "60", "min"],
        ["quick", "quick", "4", "x", "15", "min"],
        ["never", "never", "<", "0.5", "x", ">"],
    ]
    assert "3 kB / 1 kB" in text


def test_markdown_has_a_rule_and_one_line_per_run(runs) -> None:
    lines = as_markdown(compare(runs, {"accuracy": 0.9})).splitlines()
    assert lines[0].startswith("| run | strategy | speed-up | to target |")
    assert lines[1] == "| :-- | :-- |" + " --: |" * 8
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 5


def test_a_terminal_shows_every_cell_in_eighty_columns(runs) -> None:
    """Names are text, not markup."""
    table = compare(runs, {"accuracy": 0.9}).rename(index={"slow": "slow[red]"})
    console = Console(width=80)
    with console.capture() as capture:
        console.print(as_rich(table))
    shown = capture.get()
    assert "slow[red]" in shown
    assert "…" not in shown
    assert shown.count("3 kB / 1 kB") == 2
