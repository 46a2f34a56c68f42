"""The clock that an app reads."""

from __future__ import annotations

import threading
import time
import timeit
from types import ModuleType
from typing import Any

import pytest
from petal import SECOND, Note, answer, played, scene

from simfl.errors import InputError
from simfl.interop.flower.virtual_time import EPOCH_S, Stage


def test_an_app_reads_and_sleeps_on_the_virtual_clock() -> None:
    seen: list[Any] = []

    def main(grid, context):
        time.sleep(2.5)
        seen.append((time.time(), time.monotonic(), time.perf_counter(), timeit.default_timer()))
        seen.append((time.time_ns(), time.monotonic_ns()))

    begun = time.perf_counter()
    played(main, scene({"count": 1}))
    assert seen[0] == (EPOCH_S + 2.5, 2.5, 2.5, 2.5)
    assert seen[1] == ((EPOCH_S * 10 + 25) * 10**8, 25 * 10**8)
    assert time.perf_counter() > begun  # and the real clock is back


def test_devices_code_and_other_threads_read_the_real_clock() -> None:
    seen = []

    def client(note, memory):
        seen.append(time.time())
        return answer(note, memory)

    def main(grid, context):
        grid.send_and_receive([Note(0, weight=SECOND)])
        thread = threading.Thread(target=lambda: seen.append(time.time()))
        thread.start()
        thread.join()

    before = time.time()
    played(main, scene({"count": 1}), client)
    assert before <= seen[0] <= seen[1] <= time.time()


def test_names_imported_from_time_are_reached_and_put_back() -> None:
    module = ModuleType("app")
    module.sleep, module.now = time.sleep, time.time  # type: ignore[attr-defined]
    real = dict(vars(module))
    stage = Stage(lambda: 7.0)
    naps: list[float] = []
    stage.sleep = naps.append
    with stage.set([module], []):
        module.sleep(3.0)  # type: ignore[attr-defined]
        assert module.now() == EPOCH_S + 7.0  # type: ignore[attr-defined]
        with stage.away():
            assert time.time() > EPOCH_S + 7.0
    assert naps == [3.0]
    assert dict(vars(module)) == real


def test_one_app_at_a_time() -> None:
    def main(grid, context):
        played(lambda grid, context: None, scene({"count": 1}))

    with pytest.raises(InputError, match="another Flower app is running"):
        played(main, scene({"count": 1}))
