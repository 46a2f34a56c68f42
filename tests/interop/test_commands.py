"""`simfl traces` and `simfl devices measure` from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from simfl.cli import main
from simfl.fleet.catalogue import catalogue_dirs, load_device
from simfl.fleet.traces import load_trace

LOG = "trace,t_s,mbps\nbus,1.0,2.0\nbus,3.0,4.0\ntram,0.0,1.0\ntram,2.0,6.0\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text(LOG, encoding="utf-8")
    return tmp_path


def test_a_log_is_imported_and_fitted(here, capsys):
    assert main(["traces", "import", "csv", "log.csv", "-o", "traces/bus.parquet"]) == 0
    assert "a bandwidth trace of 3 rows" in capsys.readouterr().out
    assert len(load_trace("bus", "bandwidth", [here / "traces"])) == 3
    assert main(["traces", "fit", "traces/bus.parquet"]) == 0
    assert "[fleet.group.network]" in capsys.readouterr().out


def test_a_wrong_file_ends_with_two_and_one_sentence(here, capsys):
    assert main(["traces", "import", "flash", "log.csv", "-o", "x.parquet"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "log.csv: not sound JSON" in said.err
    assert not (here / "x.parquet").exists()


def test_this_machine_becomes_a_device_class(here, capsys):
    assert main(["devices", "measure", "-o", "devices/here.toml"]) == 0
    assert "names it here" in capsys.readouterr().out
    assert load_device("here", catalogue_dirs(here)).train_gflops.value > 0.0


def test_settings_without_effect_are_warned_about(here, capsys):
    text = """
        [[fleet.group]]
        compute = { kind = "constant", s = 1.0 }
        count = 2
        faults = { on_offline = "pause", drop_probability = 1e-9 }
        [learning]
        dataset = "none"
        parameters = 10
        examples = 10
        flops_per_example = 1.0
        [strategy]
        kind = "fedavg"
        cohort = 2
        [stop]
        versions = 1
    """
    (here / "idle.toml").write_text(text, encoding="utf-8")
    assert main(["run", "idle.toml"]) == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if "warning: " in line]
    assert [line.split(":")[1].split()[0] for line in warned] == [
        *("fleet.group.0.faults.on_offline", "drop_probability"),
    ]
