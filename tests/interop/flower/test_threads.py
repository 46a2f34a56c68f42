"""Apps with threads of their own: virtual time passes when all of them wait, in one order."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from toyflower import SECOND, ToyMessage, model, played, scene

from simfl.errors import PluginError
from simfl.results.verify import verify

SLOWER = [{"count": 1, "compute": {"gflops": 1.0 / (1 + i)}} for i in range(4)]


def ask(grid: Any, device: int, value: float = 0.0) -> float:
    """When the device's reply comes: it takes 3 s, and one more for each number of the device."""
    grid.send_and_receive([ToyMessage(device, model=model(value), weight=SECOND)])
    return float(grid.now_s)


def run(main: Callable[[Any], None], **more: Any) -> Any:
    result = played(lambda grid, context: main(grid), scene(*SLOWER, **more))
    assert [check.law for check in verify(result) if check.wrong] == []
    return result


# However a round's clients are asked at the same time: when the last reply came.


def by_pool(grid: Any) -> list[float]:
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(lambda device: ask(grid, device), range(4)))


def by_futures(grid: Any) -> list[float]:
    with ThreadPoolExecutor() as pool:
        futures = [pool.submit(ask, grid, device) for device in range(4)]
        wait(futures)
        return sorted(future.result() for future in as_completed(futures))


def by_threads(grid: Any) -> list[float]:
    found: list[float] = []
    threads = [
        threading.Thread(target=lambda d=d: found.append(ask(grid, d)), daemon=d == 2)
        for d in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def by_queue(grid: Any) -> list[float]:
    todo: queue.Queue[int | None] = queue.Queue()
    done: queue.Queue[float] = queue.Queue()

    def work() -> None:
        while (device := todo.get()) is not None:
            done.put(ask(grid, device))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for device in [0, 1, 2, 3, None, None, None, None]:
        todo.put(device)
    return [done.get(timeout=60.0) for _ in range(4)]


def by_polling(grid: Any) -> list[float]:
    """As Flower's own proxy of a client does: it sends, looks, and sleeps between two looks."""
    found: list[float] = []

    def work(device: int) -> None:
        names = grid.push([ToyMessage(device, model=model(0.0), weight=SECOND)])
        while not grid.pull(names):
            time.sleep(0.25)
        found.append(grid.now_s)

    threads = [threading.Thread(target=work, args=(device,)) for device in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.1)
    return found


WAYS = [by_pool, by_futures, by_threads, by_queue, by_polling]


@pytest.mark.parametrize("way", WAYS)
def test_a_round_lasts_as_long_as_its_slowest_client(way: Callable[[Any], list[float]]) -> None:
    seen: list[float] = []
    results = [run(lambda grid: seen.extend(way(grid))) for _ in range(2)]
    assert seen == [3.0, 4.0, 5.0, 6.0] * 2
    assert results[0].tasks["dispatched_s"].tolist() == [0.0] * 4
    assert results[0].digest == results[1].digest


def test_the_ledger_is_that_of_one_batch() -> None:
    """As if one thread had sent it all."""
    batch = run(
        lambda grid: grid.send_and_receive(
            [ToyMessage(d, model=model(0.0), weight=SECOND) for d in range(4)]
        )
    )
    assert run(by_pool).tasks.equals(batch.tasks)


# Locks, events, timers.


def test_a_lock_held_while_waiting_makes_others_wait_in_virtual_time() -> None:
    lock, again, seen = threading.Lock(), threading.RLock(), []

    def work(device: int, grid: Any) -> None:
        with lock, again, again:
            seen.append(ask(grid, device))

    def main(grid: Any) -> None:
        nonlocal lock, again
        lock, again = threading.Lock(), threading.RLock()
        threads = [threading.Thread(target=work, args=(d, grid)) for d in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        assert not lock.acquire(timeout=1.0)
        seen.append(grid.now_s)
        for thread in threads:
            thread.join()

    run(main)
    assert seen == [2.0, 3.0, 7.0, 12.0, 18.0]


def test_events_and_timers_are_virtual() -> None:
    seen: list[Any] = []

    def main(grid: Any) -> None:
        event = threading.Event()
        seen.append((event.wait(2.5), grid.now_s))
        threading.Timer(4.0, event.set).start()
        seen.append((event.wait(), grid.now_s))
        seen.append((event.wait(9.0), grid.now_s))

    begun = time.perf_counter()
    run(main)
    assert seen == [(False, 2.5), (True, 6.5), (True, 6.5)]
    assert time.perf_counter() - begun > 0.0


def test_a_daemon_thread_does_not_hold_the_end_and_others_do() -> None:
    beats: list[float] = []

    def beat(grid: Any) -> None:
        while True:
            time.sleep(1.0)
            beats.append(grid.now_s)

    def main(grid: Any) -> None:
        threading.Thread(target=beat, args=(grid,), daemon=True).start()
        threading.Thread(target=ask, args=(grid, 2)).start()

    assert run(main).summary["virtual_s"] == 5.0
    assert beats[:4] == [1.0, 2.0, 3.0, 4.0]


def test_the_run_s_end_unwinds_every_thread() -> None:
    left: list[str] = []

    def work(grid: Any, device: int) -> None:
        try:
            while True:
                ask(grid, device)
        finally:
            left.append(threading.current_thread().name)

    def main(grid: Any) -> None:
        threads = [threading.Thread(target=work, args=(grid, d), name=f"t{d}") for d in range(4)]
        for thread in threads:
            thread.start()
        threads[0].join()
        left.append("main")

    result = run(main, stop={"after_s": 20.0})
    assert result.summary["ended"] == "after_s"
    assert sorted(left) == ["t0", "t1", "t2", "t3"]
    assert not [thread for thread in threading.enumerate() if thread.name in left]


def test_a_thread_that_raises_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    hooked: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", hooked.append)

    def main(grid: Any) -> None:
        threading.Thread(target=lambda: 1 / 0).start()
        ask(grid, 0)

    assert len(run(main).tasks) == 1
    assert [error.exc_type for error in hooked] == [ZeroDivisionError]


# Libraries.

LIBRARY = """
import threading, time
from concurrent.futures import ThreadPoolExecutor

def start(call):
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread

def ready(seconds):
    event = threading.Event()
    start(lambda: (time.sleep(seconds), event.set()))
    return event

pool = ThreadPoolExecutor(1)
"""


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "their_threads.py").write_text(LIBRARY, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "their_threads", raising=False)
    return __import__("their_threads")


def test_an_app_waits_for_a_library_s_threads_in_real_time(library: ModuleType) -> None:
    seen: list[Any] = []

    def main(grid: Any) -> None:
        seen.append(library.ready(0.02).wait(30.0))
        seen.append(library.pool.submit(lambda: time.sleep(0.02) or "done").result(timeout=30.0))
        library.start(lambda: time.sleep(0.02)).join()
        seen.append(grid.now_s)

    run(main)
    assert seen == [True, "done", 0.0]


def test_a_library_s_thread_cannot_call_the_grid(library: ModuleType) -> None:
    def main(grid: Any) -> None:
        def call() -> None:
            try:
                grid.node_ids()
            except BaseException:
                return

        library.start(call).join()
        grid.node_ids()

    with pytest.raises(PluginError, match="a thread that a library has started"):
        run(main)


def test_what_stands_in_for_threads_is_put_back() -> None:
    kept = threading.Thread.start, threading.Thread.join, threading.Condition.wait, threading.Lock
    run(lambda grid: by_pool(grid) and None)
    now = threading.Thread.start, threading.Thread.join, threading.Condition.wait, threading.Lock
    assert now == kept
