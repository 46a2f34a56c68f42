"""Hostile surroundings: one paragraph and an exit code, nothing touched outside, and no waiting."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import simfl
from simfl.cli import main
from simfl.engine.checkpoints import checkpoint
from simfl.errors import DataError, InputError, PluginError, ScenarioError, origin, shorten
from simfl.files import own_folder, put, read_file, remove
from simfl.learn.datasets.formats import read_idx, read_npz
from simfl.strategy.base import LocalRule, Wait

TINY: dict[str, Any] = {
    "name": "tiny",
    "fleet": {"group": [{"compute": {"kind": "constant", "s": 1.0}, "count": 4}]},
    "learning": {"dataset": "digits", "model": {"kind": "softmax"}},
    "strategy": {"kind": "fedavg", "cohort": 2},
    "stop": {"versions": 4},
}
SAVING = {**TINY, "checkpoint": {"every_s": 1.0}}
TIMING = """
name = "timing"
[[fleet.group]]
compute = { kind = "constant", s = 1.0 }
count = 4
[learning]
dataset = "none"
parameters = 10
examples = 10
flops_per_example = 1.0
[strategy]
kind = "fedavg"
cohort = 2
[stop]
versions = 2
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with a small scenario in it; the import path is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "timing.toml").write_text(TIMING, "utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run without learning; only read."""
    folder = tmp_path_factory.mktemp("runs") / "timing"
    (folder.parent / "timing.toml").write_text(TIMING, "utf-8")
    simfl.run(folder.parent / "timing.toml", out=folder)
    return folder


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The paragraph with which a command ends that is given wrong input."""
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("simfl: ")
    assert said.count("\n") == 1
    assert "a bug" not in said
    assert len(said) < 1100
    return said


# The import path.

SHADOWS = ("torch", "random", "numpy", "json", "pickle", "threading", "difflib")


@pytest.mark.parametrize(("entry", "timing"), [("simfl", ["--timing"]), ("python -m simfl", [])])
def test_no_file_of_the_current_folder_stands_in_for_a_library(
    here: Path, entry: str, timing: list[str]
) -> None:
    """Without `--timing`, torch is loaded, too: once is enough, where the folder comes first."""
    for name in SHADOWS:
        (here / f"{name}.py").write_text("open('sprung', 'w').close()\n", "utf-8")
    start = ["-c", "import sys; del sys.path[0]; from simfl.cli import main; sys.exit(main())"]
    words = [*(["-m", "simfl"] if "-m" in entry else start), "run", "timing.toml", "--quiet"]
    words += timing
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=here)
    assert done.returncode == 0, done.stderr
    assert not (here / "sprung").exists()


def test_the_current_folder_is_appended_once_a_dotted_name_is_met(here: Path) -> None:
    (here / "random.py").write_text("raise RuntimeError\n", "utf-8")
    (here / "own_rule.py").write_text("class Own:\n    pass\n", "utf-8")
    before = list(sys.path)
    simfl.load("timing.toml")
    assert sys.path == before
    with pytest.raises(ScenarioError, match="is no strategy"):
        simfl.load("timing.toml", {"strategy": "own_rule:Own"})
    assert sys.path[: len(before)] == before
    assert "own_rule" in sys.modules


# Links in a run folder.


def victim(home: Path) -> Path:
    """A folder that belongs to somebody else, with a file in it."""
    other = home / "other"
    other.mkdir()
    (other / "kept").write_text("kept", "utf-8")
    (other / "000000").mkdir()
    return other


def _run_or_refuse(table: dict[str, Any], out: Path, resume: bool = False) -> None:
    """Either will do, as long as nothing outside is touched."""
    with contextlib.suppress(InputError):
        simfl.run(table, out=out, resume=resume)


def untouched(other: Path) -> bool:
    kept = sorted(path.name for path in other.iterdir()) == ["000000", "kept"]
    return kept and (other / "kept").read_text("utf-8") == "kept"


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", [".parts", "checkpoint", "checkpoint.old", "devices", "traces"])
def test_nothing_is_written_or_removed_through_a_link_to_a_folder(
    tmp_path: Path, name: str, resume: bool
) -> None:
    other, out = victim(tmp_path), tmp_path / "run"
    out.mkdir()
    (out / name).symlink_to(other)
    _run_or_refuse(SAVING, out, resume)
    assert untouched(other)


@pytest.mark.parametrize("ending", ["", ".tmp"])
@pytest.mark.parametrize(
    "name",
    [".lock", "summary.json", "scenario.toml", "tasks.parquet", "model.safetensors",
     "environment.json", "devices.parquet"],
)  # fmt: skip
def test_nothing_is_written_through_a_link_to_a_file(
    tmp_path: Path, name: str, ending: str
) -> None:
    other, out = victim(tmp_path), tmp_path / "run"
    out.mkdir()
    (out / (name + ending)).symlink_to(other / "kept")
    _run_or_refuse(TINY, out)
    assert untouched(other)


def test_reports_replace_links(finished: Path, tmp_path: Path) -> None:
    other = victim(tmp_path)
    for name, words in {
        "report.html": ["report", finished],
        "trace.json": ["export", finished, "chrome-trace"],
        "timeline.png": ["plot", finished, "timeline"],
    }.items():
        link = tmp_path / name
        link.symlink_to(other / "kept")
        assert main([*map(str, words), "-o", str(link)]) == 0
        assert not link.is_symlink()
    assert untouched(other)


def test_a_study_does_not_follow_a_link_to_its_runs(here: Path) -> None:
    other = victim(here)
    (here / "study").mkdir()
    (here / "study" / "cells").symlink_to(other)
    with pytest.raises(InputError, match="is a link"):
        simfl.study("timing.toml", seeds=[0], out=here / "study")
    assert untouched(other)


def test_the_helpers_know_links(tmp_path: Path) -> None:
    other = victim(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(other)
    with pytest.raises(InputError, match="is a link"):
        own_folder(link)
    remove(link)
    assert not link.exists()
    link.symlink_to(other / "kept")
    put(link, b"new")
    assert link.read_bytes() == b"new"
    assert untouched(other)


# Files that are none.


@pytest.fixture(params=["pipe", "zero", "folder", "nothing"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What a path may lead to that is no file."""
    path = tmp_path / "odd.toml"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "zero":
        path.symlink_to("/dev/zero")
    elif request.param == "folder":
        path.mkdir()
    return path


needs_posix = pytest.mark.skipif(os.name != "posix", reason="needs pipes and devices")


@needs_posix
def test_a_pipe_or_a_device_is_no_input(odd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"odd\.toml: (a |cannot)"):
        read_file(odd)
    words = ("run", "validate", "explain", "study")
    for command in words:
        said = refusal(capsys, command, odd)
        assert "a regular file" in said or "cannot be read" in said or not odd.exists()
    for kind in ("csv", "json", "mahimahi", "flash", "fedscale"):
        assert "odd.toml" in refusal(capsys, "traces", "import", kind, odd, "-o", odd.parent / "x")
    assert "odd.toml" in refusal(capsys, "traces", "fit", odd)
    app = odd.parent / "app"
    app.mkdir()
    if odd.exists() and not odd.is_dir():
        odd.rename(app / "pyproject.toml")
    refusal(capsys, "flower", app, "--fleet", "quickstart")


@needs_posix
@pytest.mark.parametrize("name", ["summary.json", "tasks.parquet", "scenario.toml"])
def test_a_pipe_in_a_run_folder_is_refused(
    tmp_path: Path, finished: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in finished.glob("*.*"):
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / name).unlink()
    os.mkfifo(copy / name)
    for words in (["compare", copy], ["verify", copy], ["plot", copy, "timeline"]):
        assert main([*map(str, words)]) in (0, 2, 3)
        assert "a bug" not in capsys.readouterr().err


def test_a_size_that_is_stated_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"x" * 101)
    with pytest.raises(InputError, match="101 bytes, expected at most 100"):
        read_file(path, 100)
    with path.open("wb") as file:
        file.truncate(2**40)  # a hole
    with pytest.raises(InputError, match="expected at most"):
        read_file(path)
    if Path("/proc/self/smaps").exists():  # it states 0 bytes
        with pytest.raises(InputError, match="101 bytes, expected at most 100"):
            read_file(Path("/proc/self/smaps"), 100)


@pytest.mark.parametrize("shape", [(3, 0, 28), (0, 28, 28), (2**31, 2**31, 2**31), (1, 28, 27)])
def test_an_idx_file_of_no_height_or_of_another_size_is_refused(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "images"
    path.write_bytes(bytes((0, 0, 8, 3)) + np.array(shape, ">u4").tobytes() + bytes(28 * 28))
    with pytest.raises(DataError, match="its header"):
        read_idx(path, 3)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + bytes(50), b"\x93NUMPY\x01\x00"])
def test_an_npz_file_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.npz: not an \.npz file"):
        read_npz(path, ["x"])


# Words.


def test_a_message_is_one_short_line() -> None:
    assert str(InputError("a\nb\x1b[31m")) == "a b\\x1b[31m"
    assert len(str(PluginError("x" * 5_000_000))) <= 1000
    assert shorten("abc" * 100, 20) == "abcabcabcabc...bcabc"
    assert shorten("short") == "short"


LONG = "k" * 300_000


@pytest.mark.parametrize(
    "text",
    [
        f"{LONG} = 1",
        f'name = "{LONG}"',
        f'"{LONG}" = {{ "{LONG}" = 1 }}',
        f'extends = "{LONG}"',
        f'[strategy]\nkind = "{LONG}"',
        f'[strategy]\nkind = "{LONG}:{LONG}"',
        f'[[fleet.group]]\ndevice = "{LONG}"',
        ".".join(['"a b"'] * 5000) + " = 1",
        "[" + ".".join(["'a.b'"] * 5000) + "]",
        "a = { " + ".".join(['"a\\"b"'] * 5000) + " = 1 }",
        "\n".join(f'"k{i}"."x.y" = 1' for i in range(5000)),
    ],
    ids=lambda text: text[:12],
)
def test_long_words_and_keys_of_many_parts_are_one_paragraph(
    here: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "odd.toml").write_text(text, "utf-8")
    assert "odd.toml" in refusal(capsys, "run", "odd.toml")


def test_a_chain_of_parents_has_an_end(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(2000):
        (here / f"{i}.toml").write_text(f'extends = "{i + 1}.toml"\n', "utf-8")
    assert "extends a chain" in refusal(capsys, "run", "0.toml")


@pytest.mark.parametrize(
    "words",
    [
        ["run", "timing.toml", "--set", f"learning.parameters={2**62}"],
        ["run", "timing.toml", "--set", "a." * 5000 + "b=1"],
        ["run", "timing.toml", "--set", "fleet.group." + "9" * 5000 + ".count=1"],
        ["run", "timing.toml", "--set", LONG],
        ["run", "timing.toml", "--seed", str(2**70)],
        ["study", "timing.toml", "--seeds", "0..1000000000000"],
        ["study", "timing.toml", "--seeds", "9" * 5000],
        ["study", "timing.toml", "--target", "accuracy=nan"],
        ["traces", "import", "mahimahi", "timing.toml", "-o", "x", "--bin-s", "nan"],
        ["traces", "import", "fedscale", "timing.toml", "-o", "x", "--inference-flops", "nan"],
        ["traces", "import", "csv", "timing.toml", "-o", "x", "--hold", LONG],
    ],
    ids=lambda words: " ".join(words)[-24:],
)
def test_odd_options_are_one_paragraph(
    here: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    refusal(capsys, *words)


@pytest.mark.parametrize("name", ["x.gif9", "x", "x.", "x.html"])
def test_an_unknown_kind_of_picture_is_refused(
    finished: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(capsys, "plot", finished, "timeline", "-o", tmp_path / name)
    assert "is not a kind of picture" in said
    assert "png" in said


@pytest.mark.parametrize(
    "about",
    [
        {"devices": 2**62},
        {"devices": True},
        {"devices": 1, "period_s": 1e308},
        {"trace": ["presence"]},
        {"trace": LONG},
        {"version": LONG},
    ],
    ids=str,
)
def test_odd_metadata_of_a_trace_are_one_paragraph(
    tmp_path: Path, about: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = {"trace": "presence", "version": 1, **about}
    table = pa.table({"device": [0], "start_s": [0.0], "end_s": [1.0]})
    pq.write_table(table.replace_schema_metadata({"simfl": json.dumps(whole)}), tmp_path / "t")
    refusal(capsys, "traces", "fit", tmp_path / "t")


# The disk, the reader of the output, and folders that cannot be written to.


def test_a_full_disk_is_stated_as_that(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def write(path: Path, *_: object) -> None:
        written.append(path)
        if len(written) > 5:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("simfl.results.store._write", write)
    monkeypatch.setattr("simfl.results.store.PART_ROWS", 2)
    said = refusal(capsys, "run", "timing.toml", "--out", "run", "--set", "stop.versions=20")
    assert "no room is left on the disk" in said


@dataclass(frozen=True)
class Filler:
    """Is there when the disk is full, and is not to blame."""

    local: LocalRule = field(default_factory=LocalRule)

    def init(self, params: Any) -> list[int]:
        return []

    def step(self, state: Any, server: simfl.Server, updates: list[simfl.Update]) -> Wait:
        raise OSError(28, "No space left on device")


def test_a_disk_that_fills_up_during_a_step_is_not_the_fault_of_the_strategy() -> None:
    with pytest.raises(OSError, match="No space left"):
        simfl.run({**TINY, "strategy": Filler()}, timing=True)


@needs_posix
def test_output_without_a_reader_has_its_exit_code() -> None:
    start = "import sys; from simfl.cli import main; sys.exit(main(['schema']))"
    with subprocess.Popen(
        [sys.executable, "-c", start], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_a_finished_run_in_a_read_only_folder_answers_resume(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    again = simfl.run(finished.parent / "timing.toml", out=finished, resume=True)
    assert again.digest == simfl.open(finished).digest


# Plug-ins that end the program, or keep odd state.


@pytest.mark.parametrize("code", ["0", "3", "'words'", ""])
def test_a_module_that_ends_the_program_is_the_one_to_blame(
    here: Path, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"leaver{len(code)}"
    (here / f"{name}.py").write_text(f"import sys\nsys.exit({code})\n", "utf-8")
    said = refusal(capsys, "run", "timing.toml", "--set", f"strategy.kind={name}:Rule")
    assert f"cannot import {name}:Rule (SystemExit" in said


def test_a_file_of_a_plugin_is_named_with_its_folder_where_two_have_one_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raised_in(package: str) -> str:
        (tmp_path / package).mkdir()
        (tmp_path / package / "rule_of_two.py").write_text("def step():\n    1 / 0\n", "utf-8")
        name = f"{package}.rule_of_two"
        module = importlib.import_module(name)
        monkeypatch.setitem(sys.modules, name, module)
        with pytest.raises(ZeroDivisionError) as caught:
            module.step()
        return origin(caught.value)

    monkeypatch.syspath_prepend(str(tmp_path))
    assert raised_in("first_place") == " at rule_of_two.py:2"
    assert raised_in("second_place") == f" at {tmp_path}/second_place/rule_of_two.py:2"


@dataclass(frozen=True)
class Hoarder:
    """Keeps a thing as its state."""

    thing: Any
    local: LocalRule = field(default_factory=LocalRule)

    def init(self, params: Any) -> Any:
        return {"thing": self.thing}

    def step(self, state: Any, server: simfl.Server, updates: list[simfl.Update]) -> Wait:
        server.dispatch(server.sample(1))
        return Wait()


class Local:
    class Inner:
        __snapshot__ = ()


ODD: dict[str, Any] = {
    "mixed set": {1, "x"},
    "complex": 1j,
    "numpy complex": np.complex64(1),
    "datetime": np.datetime64("2020-01-01"),
    "text array": np.array(["a"]),
    "long floats": np.zeros(1, np.longdouble),
    "sparse": torch.eye(2).to_sparse(),
    "bfloat16": torch.zeros(1, dtype=torch.bfloat16),
    "inner class": Local.Inner(),
}


@pytest.mark.parametrize("what", ODD)
def test_state_that_no_checkpoint_holds_names_the_strategy(tmp_path: Path, what: str) -> None:
    table = {**SAVING, "strategy": Hoarder(ODD[what]), "stop": {"after_s": 3.0}}
    with pytest.warns(UserWarning, match="no checkpoints of tiny: the state of Hoarder"):
        simfl.run(table, out=tmp_path / "run", timing=True)


# Checkpoints that were changed and sealed again.


class Stop:
    def __init__(self) -> None:
        self.left = 5

    def update(self, status: object) -> None:
        self.left -= 1
        if not self.left:
            raise RuntimeError("stopped")

    def close(self) -> None: ...


def _resealed(folder: Path, change: Any) -> None:
    for path in checkpoint._numbered(folder / "checkpoint"):
        body = json.loads(json.loads((path / "state.json").read_text("utf-8"))["body"])
        change(body["state"])
        text = json.dumps(body)
        outer = {"digest": checkpoint._digest(text.encode()), "body": text}
        (path / "state.json").write_text(json.dumps(outer), "utf-8")


def _attribute(part: str, key: str, value: Any) -> Any:
    def change(state: dict[str, Any]) -> None:
        parts = dict((k, v) for k, v in dict(state["tree"]["is"])["parts"]["is"])
        for pair in parts[part]["is"]:
            if pair[0] == key:
                pair[1] = value

    return change


CHANGES: dict[str, Any] = {
    "more parts": lambda state: state["rows"].update(tasks=2**62),
    "fewer than none": lambda state: state["rows"].update(tasks=-1),
    "no table": lambda state: state["rows"].update(other=0),
    "before the beginning": lambda state: state.update(now_s=-1.0),
    "never": lambda state: state.update(now_s=float("nan")),
    "too late": lambda state: state.update(now_s=1e300),
    "after what is to come": lambda state: state.update(now_s=1e9),
    "versions": _attribute("server", "version", -1),
    "many versions": _attribute("server", "version", 2**62),
    "tasks": _attribute("server", "_serial", -5),
    "text": _attribute("server", "steps", "x"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_checkpoint_with_absurd_counts_or_times_is_refused(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {**SAVING, "evaluate": {"every_versions": 1}, "stop": {"versions": 8}}
    with pytest.raises(RuntimeError):
        simfl.run(table, out=tmp_path / "run", progress=Stop())
    _resealed(tmp_path / "run", CHANGES[what])
    with pytest.raises(InputError, match="checkpoint"):
        simfl.run(table, out=tmp_path / "run", resume=True)
