"""Trainers in other processes: the same results, and nobody left behind."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_bench import distance, equal, jobs, noise, problem

from simfl.errors import PluginError, SimflError
from simfl.learn.trainers import choose, make
from simfl.learn.trainers.shared_memory import SharedMemory
from simfl.learn.trainers.workers import Workers, WorkerSpec, _Worker
from simfl.params import Params
from simfl.strategy.methods.scaffold import ControlVariate


@pytest.fixture(scope="module")
def scaffold() -> Iterator[tuple[Any, Workers]]:
    """A problem whose jobs carry extras and memory, and two workers on it."""
    local = problem(rule=ControlVariate())
    trainer = make("batched", local, workers=2).trainer
    assert isinstance(trainer, Workers)
    yield local, trainer
    trainer.close()


def work(local: Any) -> list[Any]:
    kept = {"extras": {"c": noise(local.initial, 1)}, "memory": {"c_i": noise(local.initial, 2)}}
    return jobs(local, **kept)


def processes(workers: Workers) -> list[Any]:
    return [worker.process for worker in workers._pool.workers]


def alive(among: list[Any]) -> list[Any]:
    return [process for process in multiprocessing.active_children() if process in among]


def test_workers_find_the_same_to_the_last_bit(scaffold: tuple[Any, Workers]) -> None:
    local, workers = scaffold
    here, there = choose("batched", local).trainer.train(work(local)), workers.train(work(local))
    assert equal(there, here)
    for mine, its in zip(there, here, strict=True):
        assert torch.equal(mine.report.extras["c"], its.report.extras["c"])
        assert torch.equal(mine.report.memory["c_i"], its.report.memory["c_i"])
        assert mine.report.delta.layout == local.initial.layout
    assert equal(workers.train(work(local)[:1]), here[:1])
    assert workers.train([]) == []


def test_what_came_back_is_not_overwritten_by_the_next_call(scaffold: tuple[Any, Workers]) -> None:
    local, workers = scaffold
    first = workers.train(work(local))
    kept = [one.report.delta.flat.clone() for one in first]
    workers.train(work(local)[::-1])
    assert all(map(torch.equal, (one.report.delta.flat for one in first), kept))


def test_a_worker_that_dies_is_replaced_and_its_jobs_are_tried_again(
    scaffold: tuple[Any, Workers],
) -> None:
    local, workers = scaffold
    before = workers.train(work(local))
    for process in processes(workers):
        process.kill()
        process.join()
    assert equal(workers.train(work(local)), before)
    assert len(alive(processes(workers))) == 2


def test_a_rule_that_fails_in_a_worker_is_told_as_if_it_had_failed_here(
    scaffold: tuple[Any, Workers],
) -> None:
    """And the workers are there again for the next call."""
    local, workers = scaffold
    before = processes(workers)
    with pytest.raises(PluginError, match=r"ControlVariate\.prepare failed \(KeyError: 'c'\)"):
        workers.train(jobs(local))
    assert alive(before) == []
    assert len(workers.train(work(local))) == 6


def test_jobs_that_kill_every_worker_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    local = problem()
    workers = make("one-by-one", local, workers=2).trainer
    assert isinstance(workers, Workers)
    before, send = processes(workers), _Worker.send

    def murder(self: _Worker, *given: Any) -> None:
        self.process.kill()
        self.process.join()
        send(self, *given)

    monkeypatch.setattr(_Worker, "send", murder)
    with pytest.raises(SimflError, match=r"3 worker processes died .*enough memory"):
        workers.train(jobs(local)[:1])
    assert alive(before) == processes(workers) == []


def test_workers_end_with_their_trainer() -> None:
    trainer = Workers(problem(), "one-by-one", count=2, width=10)
    before = processes(trainer)
    assert alive(before) != []
    del trainer
    gc.collect()
    assert alive(before) == []


INTERRUPTED = """
import sys, threading, time, signal, os
sys.path.insert(0, {here!r})
from trainer_bench import jobs, problem
from simfl.learn.trainers import make

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    local = problem()
    trainer = make("one-by-one", local, workers=2).trainer
    trainer.train(jobs(local))
    print(*(w.process.pid for w in trainer._pool.workers), flush=True)
    while True:
        trainer.train(jobs(local) * 50)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("by", ["SIGINT", "SIGKILL"])
def test_nobody_is_left_when_a_run_is_interrupted_or_killed(tmp_path: Path, by: str) -> None:
    script = tmp_path / "endless.py"
    script.write_text(INTERRUPTED.format(here=str(Path(__file__).parent)))
    with subprocess.Popen([sys.executable, script], stdout=-1, stderr=-1, text=True) as run:
        assert run.stdout is not None
        pids = [int(word) for word in run.stdout.readline().split()]
        assert len(pids) == 2
        run.send_signal(getattr(signal, by))
        run.wait()
    assert run.returncode != 0
    while any(running(pid) for pid in pids):  # a hang here is what the test is about
        time.sleep(0.05)


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")  # a dead child that nobody asks about is no worker
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


# Messages


def test_messages_survive_an_arena_that_is_too_small() -> None:
    params = Params.from_named({"w": torch.arange(40.0), "b": torch.ones(())})
    message = {
        "a": params,
        "again": params,
        "scalar": torch.tensor(2.0),
        "part": params.select("b"),
    }
    for nbytes in (4096, 100, 0):
        mail, arena = SharedMemory(params.layout), memoryview(bytearray(nbytes))
        got = mail.unpack(mail.pack(message, arena), arena, copy=True)
        assert torch.equal(got["a"].flat, params.flat)
        assert got["a"] is got["again"]
        assert got["a"].layout is params.layout
        assert got["part"].layout == params.select("b").layout
        assert got["scalar"].shape == ()


def test_arrays_lie_in_the_arena_unless_they_are_copied() -> None:
    x = torch.arange(6.0)
    mail, arena = SharedMemory(Params.from_named({"x": x}).layout), memoryview(bytearray(64))
    packed = mail.pack([x], arena)
    assert len(packed) < 300
    (copy,), (view,) = (mail.unpack(packed, arena, copy=copy) for copy in (True, False))
    arena[:4] = b"\0\0\x80?"  # 1.0
    assert view[0] == 1.0
    assert copy[0] == 0.0


def test_unlike_results_are_told_apart() -> None:
    """The measure that other tests of trainers trust."""
    local = problem()
    a, b = (choose("one-by-one", local).trainer.train(jobs(local)[:n][-1:]) for n in (1, 2))
    assert not equal(a, b)
    assert distance(a, b) > 1e-3


def test_workers_take_visible_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    spec = WorkerSpec.of(problem(), "batched")
    for number in range(3):
        spec.on_gpu(number)
        replace(spec, torch_device="cuda").on_gpu(number)
    assert taken == [0, 1, 0]
