"""Machine code is loaded from a folder of this user's own, and needs Numba and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from trainer_bench import problem

from simfl.errors import ScenarioError
from simfl.learn.trainers import choose
from simfl.learn.trainers.dense import machine_code
from simfl.learn.trainers.dense.machine_code import compiled_steps, private_folder

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs owners and modes of files")


@POSIX
@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
@pytest.mark.parametrize("which", ["home", "home/code"])
def test_a_folder_that_others_can_write_is_passed_over(
    tmp_path: Path, mode: int, which: str
) -> None:
    (tmp_path / "home/code").mkdir(parents=True)
    (tmp_path / which).chmod(mode)
    homes = [tmp_path / "home", tmp_path / "other"]
    assert private_folder(iter(homes), "code") == tmp_path / "other/code"
    assert private_folder(iter(homes[:1]), "code") is None
    assert not (tmp_path / "other/code").stat().st_mode & 0o077


@POSIX
def test_so_is_one_of_another_user_and_one_behind_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real/code").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert private_folder(iter([tmp_path / "link"]), "code") is None
    assert private_folder(iter([tmp_path / "real"]), "code") == tmp_path / "real/code"
    stranger = os.getuid() + 1
    monkeypatch.setattr(machine_code.os, "getuid", lambda: stranger)
    assert private_folder(iter([tmp_path / "real"]), "code") is None


def test_where_there_is_no_place_for_a_folder_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    assert private_folder(iter([tmp_path / "file"]), "code") is None


def test_code_has_another_folder_when_its_source_or_numba_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {machine_code._name("0.1"), machine_code._name("0.2")}
    source = Path(machine_code.__file__)
    for name in machine_code._SOURCES:
        (tmp_path / name).write_bytes(source.with_name(name).read_bytes() + b"#")
    monkeypatch.setattr(machine_code, "__file__", str(tmp_path / "machine_code.py"))
    assert len(names | {machine_code._name("0.1")}) == 3


def test_without_numba_a_dense_model_is_not_trained_in_another_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr(
        "simfl.learn.trainers.dense.trainer.compiled_steps", compiled_steps.__wrapped__
    )
    with pytest.raises(ScenarioError, match=r'needs Numba.*set learning\.trainer = "batched"'):
        choose("auto", problem())


def test_code_is_made_by_one_at_a_time(tmp_path: Path) -> None:
    """So that of many processes on a fresh machine one makes it and the others find it."""
    inside, most = [], []

    def make(name: int) -> None:
        with machine_code._alone(tmp_path):
            inside.append(name)
            most.append(len(inside))
            time.sleep(0.01)
            inside.remove(name)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(4)))
    assert most == [1] * 4


def test_on_a_disk_without_locks_each_makes_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with machine_code._alone(tmp_path):
        pass


PLAYED = """
import simfl
table = {
    "name": "dense", "fleet": {"group": [{"device": "phone-mid", "count": 5}]},
    "learning": {"dataset": "digits", "model": {"kind": "mlp", "hidden": [32]}, "momentum": 0.5},
    "strategy": {"kind": "fedavg", "cohort": 3}, "stop": {"versions": 2},
}
result = simfl.run(table)
print(result.summary["trainer"], result.digest)
"""


def played(**variables: str) -> str:
    env = {**os.environ, **variables}
    done = subprocess.run([sys.executable, "-c", PLAYED], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.study
def test_the_digest_is_that_of_any_machine(tmp_path: Path) -> None:
    """Without a compiler, without a home, and with every index checked."""
    usual = played()
    assert usual.startswith("compiled: ")
    assert played(PATH="", CC="/nowhere", HOME="/proc/none", XDG_CACHE_HOME="/proc/none") == usual
    checked = {"NUMBA_BOUNDSCHECK": "1", "XDG_CACHE_HOME": str(tmp_path)}
    assert played(**checked) == usual
    nowhere = {"XDG_CACHE_HOME": "/proc/none", "TMPDIR": "/proc/none"}
    assert played(**nowhere) == usual
