"""The command line: what it prints where, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import simfl.engine.run
from simfl.cli import main
from simfl.errors import InvariantError, PluginError, Stalled
from simfl.scenario import load

Cli = Callable[..., tuple[int, str, str]]
NIGHT = Path(__file__).parents[1] / "scenario" / "night.toml"

TINY = """
name = "tiny"
[[fleet.group]]
compute = { kind = "constant", s = 1.0 }
count = 4
[learning]
dataset = "digits"
model = "softmax"
[strategy]
kind = "fedavg"
cohort = 2
[stop]
versions = 3
"""


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command in a folder of its own: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")

    def call(*words: str | Path) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes every run end with this error."""

    def fail(error: BaseException) -> None:
        def run(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(simfl.engine.run, "run", run)

    return fail


def test_the_version_is_said(cli: Cli) -> None:
    assert cli("--version") == (0, f"simfl {simfl.__version__}\n", "")


def test_a_misspelt_scenario_gets_the_nearest_names_and_not_all_of_them(cli: Cli) -> None:
    code, _, err = cli("run", "quikstart")
    assert code == 2
    assert "did you mean 'quickstart' or 'quickstart-sync'?" in err
    assert "strategies/" not in err


def test_a_run_writes_its_folder_and_says_what_came_out(cli: Cli) -> None:
    code, out, err = cli("run", "tiny.toml")
    assert code == 0
    assert {"versions", "digest", "folder"} <= {line.split()[0] for line in out.splitlines()}
    assert "Traceback" not in err
    assert load("runs/tiny-seed0/scenario.toml").name == "tiny"


def test_with_json_standard_output_is_the_summary_and_nothing_else(cli: Cli) -> None:
    code, out, err = cli("run", "tiny.toml", "--json", "--seed", "3")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads(Path("runs/tiny-seed3/summary.json").read_text("utf-8"))


def test_quiet_runs_are_quiet(cli: Cli) -> None:
    assert cli("run", "tiny.toml", "--quiet", "--out", "there") == (0, "", "")
    assert Path("there/tasks.parquet").is_file()


def test_a_run_folder_gives_the_same_digest_when_it_is_run_again(cli: Cli) -> None:
    cli("run", "tiny.toml", "--quiet", "--set", "seed=5", "--set", "strategy.cohort=3")
    _, again, _ = cli("run", "runs/tiny-seed5/scenario.toml", "--json", "--out", "again")
    first = json.loads(Path("runs/tiny-seed5/summary.json").read_text("utf-8"))
    assert json.loads(again)["digest"] == first["digest"]


def test_the_same_scenario_may_be_run_again_and_another_is_not_overwritten(cli: Cli) -> None:
    assert cli("run", "tiny.toml", "--quiet", "--out", "r")[0] == 0
    assert cli("run", "tiny.toml", "--quiet", "--out", "r")[0] == 0
    code, _, err = cli("run", "tiny.toml", "--quiet", "--out", "r", "--set", "stop.versions=2")
    assert code == 2
    assert "r holds a run of another scenario (stop.versions was 3 and is 2)" in err


def test_a_timing_run_does_not_learn_and_lies_elsewhere(cli: Cli) -> None:
    assert cli("run", "tiny.toml", "--timing", "--quiet")[0] == 0
    assert not Path("runs/tiny-seed0-timing/model.safetensors").exists()
    assert not Path("runs/tiny-seed0").exists()


def test_a_sweep_is_not_one_run(cli: Cli) -> None:
    code, _, err = cli("run", "tiny.toml", "--set", 'sweep={ "strategy.cohort" = [1, 2] }')
    assert code == 2
    assert "sweep describes many runs (over strategy.cohort)" in err


def test_wrong_input_ends_with_2_and_one_paragraph(cli: Cli) -> None:
    code, out, err = cli("run", "tiny.toml", "--set", "strategy.cohrt=3")
    assert (code, out) == (2, "")
    assert err.startswith("simfl: tiny.toml with strategy.cohrt overridden: strategy.cohrt is not")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InvariantError("time ran backwards"), 3, "simfl: time ran backwards\n"),
        (PluginError("Mine.step failed"), 3, "simfl: Mine.step failed\n"),
        (Stalled("all are asleep"), 4, "simfl: all are asleep\n"),
        (KeyboardInterrupt(), 130, ""),
        (PermissionError(13, "Permission denied", "/r"), 2, "simfl: [Errno 13] Permission denied"),
        (ZeroDivisionError("x"), 3, "simfl: a bug, please report it (ZeroDivisionError: x)"),
    ],
)
def test_every_way_to_end_has_its_exit_code(
    cli: Cli,
    play: Callable[[BaseException], None],
    error: BaseException,
    code: int,
    said: str,
) -> None:
    play(error)
    got, out, err = cli("run", "tiny.toml")
    assert (got, out) == (code, "")
    assert err.startswith(said)
    assert "Traceback" not in err


def test_who_asks_for_a_traceback_gets_one(cli: Cli, play: Callable[[BaseException], None]) -> None:
    play(Stalled("all are asleep"))
    code, _, err = cli("--traceback", "run", "tiny.toml")
    assert code == 4
    assert err.startswith("Traceback")
    assert err.endswith("simfl: all are asleep\n")


def test_unknown_commands_and_options_end_with_2(cli: Cli) -> None:
    assert cli("frobnicate")[0] == 2
    assert cli("run", "tiny.toml", "--fast")[0] == 2


def test_validate_says_that_all_is_well(cli: Cli) -> None:
    code, out, _ = cli("validate", NIGHT)
    assert code == 0
    assert out == f"{NIGHT}: valid (night-phones, 110 devices, hash {load(NIGHT).hash})\n"


def test_validate_names_foreign_code_and_does_not_run_it(cli: Cli) -> None:
    Path("mine.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    code, out, _ = cli("validate", "tiny.toml", "--set", "strategy.kind=mine:Mine")
    assert code == 0
    assert "would import mine:Mine; its options were not checked" in out


def test_a_run_finds_code_in_the_current_folder(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "heremodel", raising=False)
    source = (
        "from simfl.learn.models.base import Softmax\ndef make(dataset): return Softmax()(dataset)"
    )
    Path("heremodel.py").write_text(source, encoding="utf-8")
    assert cli("run", "tiny.toml", "--quiet", "--set", "learning.model=heremodel:make")[0] == 0


def test_explain_tells_every_class_and_when_it_ends(cli: Cli) -> None:
    code, out, _ = cli("explain", NIGHT)
    assert code == 0
    for word in ("phone-mid", "raspberry-pi-4", "exponential", "after 24 h", "concurrency = 20"):
        assert word in out


def test_schema_prints_json(cli: Cli) -> None:
    code, out, _ = cli("schema")
    assert code == 0
    assert "strategy.fedbuff" in json.loads(out)["$defs"]


def test_devices_lists_classes_and_shows_one_with_its_sources(cli: Cli) -> None:
    _, listed, _ = cli("devices")
    assert {"phone-mid", "lte"} <= set(listed.split())
    code, shown, _ = cli("devices", "lte")
    assert code == 0
    assert "down_mbps" in shown
    assert "Ookla" in shown


def test_an_unknown_class_is_an_error_with_the_nearest(cli: Cli) -> None:
    code, _, err = cli("devices", "phone-mdi")
    assert code == 2
    assert "did you mean 'phone-mid'" in err


def test_strategies_lists_them_and_shows_one_with_its_options(cli: Cli) -> None:
    _, listed, _ = cli("strategies")
    assert "arXiv 2106.06639" in listed
    code, shown, _ = cli("strategies", "fedbuff")
    assert code == 0
    assert ["buffer", "whole", "number", ">=", "1", "10"] in [x.split() for x in shown.splitlines()]


def test_runs_are_compared_and_plotted(cli: Cli) -> None:
    for seed in ("1", "2"):
        cli("run", "tiny.toml", "--quiet", "--out", f"r{seed}", "--seed", seed)
    code, out, _ = cli("compare", "r1", "r2", "--target", "accuracy=0.1")
    assert code == 0
    assert "speed-up" in out
    assert cli("plot", "r1", "r2", "accuracy", "-o", "both.png")[:2] == (0, "both.png\n")
    assert Path("both.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = cli("plot", "r1", "traffic")
    assert Path(out.strip()) == Path("r1/traffic.png")
    assert Path("r1/traffic.png").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plot", "r1", "acuracy"), "did you mean 'accuracy'"),
        (("plot", "accuracy"), "at least one run folder"),
        (("plot", "absent", "accuracy"), "absent: no such folder"),
        (("compare", "absent"), "absent: no such folder"),
        (("compare", "r1", "--target", "accuracy"), "--target accuracy: expected metric=number"),
        (("run", "absent.toml"), "absent.toml: no such file, and no shipped scenario"),
        (("run", "tiny.toml", "--out", "tiny.toml"), "tiny.toml is a file"),
    ],
)
def test_mistakes_on_the_command_line_are_told(cli: Cli, words: tuple[str, ...], said: str) -> None:
    code, _, err = cli(*words)
    assert code == 2
    assert said in err


def test_one_picture_of_several_runs_needs_a_kind_that_can(cli: Cli) -> None:
    cli("run", "tiny.toml", "--quiet", "--out", "r")
    code, _, err = cli("plot", "r", "r", "waste")
    assert code == 2
    assert "plot waste shows one run at a time, not 2" in err


STATED = """
name = "stated"
fleet.group = [{ count = 3, compute = { kind = "constant", s = 5.0 } }]
learning = { dataset = "none", parameters = 1000, examples = 20, flops_per_example = 1e6 }
strategy = { kind = "fedbuff", concurrency = 2, buffer = 1 }
stop = { versions = 2 }
"""


@pytest.mark.parametrize(
    ("words", "unseen"),
    [
        ([], {"torch", "pandas", "numpy", "matplotlib", "pydantic", "rich"}),
        (["devices"], {"torch", "pandas", "matplotlib", "simpy", "scipy"}),
        (["strategies"], {"torch", "pandas", "matplotlib", "simpy", "scipy"}),
        (["validate", "quickstart"], {"torch", "pandas", "matplotlib", "simpy", "scipy"}),
        (["explain", "quickstart", "--timing"], {"torch", "matplotlib", "sklearn"}),
        (["explain", "quickstart"], {"torch._dynamo", "sympy", "matplotlib", "sklearn"}),
        (["run", "stated.toml", "--timing", "--quiet"], {"torch", "matplotlib", "sklearn"}),
    ],
)
def test_commands_load_what_they_need(words: list[str], unseen: set[str], tmp_path: Path) -> None:
    """What knows its sizes must not wait for torch."""
    (tmp_path / "stated.toml").write_text(STATED)
    code = (
        f"import sys\nfrom simfl.cli import main\nwords = {words}\nif words: main(words)\n"
        f"print('loaded', *sorted(set({sorted(unseen)}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.stdout.splitlines()[-1], done.stderr) == ("loaded", "")


def test_the_package_can_be_run_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simfl", "validate", "absent"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("simfl: absent: no such file")


def test_help_names_what_a_command_takes_without_marks(cli: Cli) -> None:
    """The kinds of plots and exports are those that there are."""
    from simfl.cli import kinds
    from simfl.results.export import EXPORTS
    from simfl.results.plots import PLOTS, STUDY_PLOTS

    assert (sorted(kinds.RUN_PLOTS), sorted(kinds.STUDY_PLOTS), kinds.EXPORTS) == (
        sorted(PLOTS), sorted(STUDY_PLOTS), tuple(EXPORTS),
    )  # fmt: skip
    for words in (["plot"], ["export"], ["run"], ["devices"], ["traces", "import"]):
        _, out, _ = cli(*words, "--help")
        assert "\\[" not in out
        assert "required" not in out
    _, out, _ = cli("plot", "--help")
    assert "performance-profile" in out
    _, out, _ = cli("run", "--help")
    assert " ".join(out.split()).count("name of a shipped scenario") == 1


def test_scenarios_are_listed_shown_and_saved(cli: Cli, tmp_path: Path) -> None:
    _, out, _ = cli("scenarios")
    assert any(line.startswith("quickstart ") and "Buffered" in line for line in out.splitlines())
    code, out, _ = cli("scenarios", "studies/tuned", "--toml")
    assert code == 0
    (tmp_path / "mine.toml").write_text(out, "utf-8")
    assert load(tmp_path / "mine.toml").hash == load("studies/tuned").hash
    _, shown, _ = cli("scenarios", "quickstart")
    assert "[[fleet.group]]" in shown
    code, _, err = cli("scenarios", "quickstrt")
    assert (code, "did you mean 'quickstart'" in err) == (2, True)


@pytest.mark.parametrize("command", ["validate", "explain"])
def test_a_study_says_how_large_it_is(cli: Cli, command: str) -> None:
    words = [command, "studies/tuned", *(["--timing"] if command == "explain" else [])]
    code, out, _ = cli(*words)
    assert code == 0
    assert "3 variants under 5 seeds: 15 runs, after 48 trials of 96 runs at most; up to" in out
    assert "4.62 d of virtual time" in out  # (15 + 96) hours


def test_a_plug_in_s_error_says_where_it_is(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["from simfl.strategy.methods.fedbuff import FedBuff", "class Mine(FedBuff):",
             "    def step(self, pending, server, updates):", "        return 1 / 0"]  # fmt: skip
    (tmp_path / "mine.py").write_text("\n".join(lines), "utf-8")
    (tmp_path / "tiny.toml").write_text(TINY.replace("fedavg", "mine:Mine"), "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    code, _, err = cli("run", "tiny.toml", "--set", "strategy={kind='mine:Mine',concurrency=2}")
    assert code == 3
    assert "at mine.py:4" in err


def test_names_are_completed(cli: Cli, tmp_path: Path) -> None:
    from simfl.cli import kinds

    assert kinds.strategies("fedb") == ["fedbuff"]
    assert "phone-mid" in kinds.classes("phone")
    assert kinds.exports("ten") == ["tensorboard"]
    assert "staleness-ecdf" in kinds.plots("stale")
    assert "quickstart-sync" in kinds.scenarios("quick")
