"""The clock that an app reads."""

from __future__ import annotations

import builtins
import datetime as dates
import sys
import threading
import time
import timeit
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from toyflower import SECOND, ToyMessage, answer, played, scene

from simfl.errors import InputError
from simfl.interop.flower.virtual_time.callers import Code
from simfl.interop.flower.virtual_time.clock import EPOCH_S, VirtualTime


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


def test_the_summary_says_when_the_app_s_code_ended() -> None:
    """What an app does after its last reply leaves no row in a table."""

    def main(grid, context):
        grid.send_and_receive([ToyMessage(0, weight=SECOND)])
        time.sleep(7.0)

    summary = played(main, scene({"count": 1})).summary
    assert (summary["virtual_s"], summary["app_s"]) == (3.0, 10.0)


def test_devices_code_reads_the_real_clock_and_the_app_s_threads_the_virtual_one() -> None:
    seen = []

    def client(message, context):
        seen.append(time.time())
        return answer(message, context)

    def main(grid, context):
        grid.send_and_receive([ToyMessage(0, weight=SECOND)])
        thread = threading.Thread(target=lambda: seen.append(time.time()))
        thread.start()
        thread.join()

    before = time.time()
    played(main, scene({"count": 1}), client)
    assert before <= seen[0] <= time.time()
    assert seen[1] == EPOCH_S + 3.0


SOURCE = """
import datetime, time
import datetime as dates, time as clock, timeit
from datetime import date, datetime as moment
from time import sleep, time as now, strftime as word, ctime
from timeit import default_timer as timer

class Seconds(moment):
    pass

def readings():
    import time as local
    from datetime import datetime as inner
    sleep(0.5)
    clock.sleep(0.5)
    return {
        "now": now(), "clock": clock.time(), "local": local.monotonic(), "timer": timer(),
        "timeit": timeit.default_timer(), "word": word("%Y-%m-%d"),
        "of": word("%Y", clock.gmtime(0)),
        "ctime": ctime()[-4:], "localtime": clock.localtime().tm_year,
        "gm": clock.gmtime(0).tm_year,
        "moment": moment.now().year, "utc": dates.datetime.now(dates.timezone.utc).timestamp(),
        "inner": inner.utcnow().year, "day": date.today().year,
        "kind": type(moment(2020, 1, 1)) is type(dates.datetime.min),
        "is": isinstance(dates.datetime.min, moment) and issubclass(Seconds, moment),
    }
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes modules of SOURCE: of an app in `mine`, of a library elsewhere, one installed there."""
    for place in ("mine", "mine/venv/lib/site-packages", "other"):
        (tmp_path / place).mkdir(parents=True)
        name = "code_" + place.replace("/", "_").replace("-", "_")
        (tmp_path / place / f"{name}.py").write_text(SOURCE, "utf-8")
        monkeypatch.syspath_prepend(str(tmp_path / place))
    yield lambda place: import_module("code_" + place.replace("/", "_").replace("-", "_"))
    for name in [name for name in sys.modules if name.startswith("code_")]:
        del sys.modules[name]


@pytest.mark.parametrize("early", [True, False], ids=["before the run", "during the run"])
def test_an_app_s_modules_are_virtual_by_whatever_name_and_libraries_are_not(
    early: bool, modules: Any, tmp_path: Path
) -> None:
    places = ("mine", "mine/venv/lib/site-packages", "other")
    if early:
        before = [dict(vars(modules(place))) for place in places]
    virtual_time = VirtualTime(lambda: 7.0)
    naps: list[float] = []
    virtual_time.sleep = naps.append
    with virtual_time.set(Code((tmp_path / "mine",))):
        mine, *others = [modules(place).readings() for place in places]
        with virtual_time.away():
            away = modules("mine").moment.now()
    assert naps == [0.5, 0.5]
    assert mine == {
        "now": EPOCH_S + 7.0, "clock": EPOCH_S + 7.0, "local": 7.0, "timer": 7.0, "timeit": 7.0,
        "word": "2025-01-01", "of": "1970", "ctime": "2025", "localtime": 2025, "gm": 1970,
        "moment": 2025, "utc": EPOCH_S + 7.0, "inner": 2025, "day": 2025,
        "kind": True, "is": True,
    }  # fmt: skip
    for other in others:
        assert other["now"] > EPOCH_S + 10**7
        assert other["moment"] == other["day"] == dates.datetime.now().year
    assert away.year == dates.datetime.now().year
    if early:
        assert [dict(vars(modules(place))) for place in places] == before
    assert modules("mine").clock is time


def test_the_clock_is_put_back_after_an_exception(modules: Any, tmp_path: Path) -> None:
    imports = builtins.__import__
    mine = modules("mine")
    with pytest.raises(KeyError), VirtualTime().set(Code((tmp_path / "mine",))):
        raise KeyError
    assert mine.clock is time
    assert mine.sleep is time.sleep
    assert builtins.__import__ is imports


def test_a_package_of_the_app_is_virtual_wherever_it_is_installed(
    modules: Any, tmp_path: Path
) -> None:
    package = "code_mine_venv_lib_site_packages"
    virtual_time = VirtualTime(lambda: 7.0)
    with virtual_time.set(Code((tmp_path / "mine",), (package,))):
        assert modules("mine/venv/lib/site-packages").readings()["local"] == 7.0


def test_one_app_at_a_time() -> None:
    def main(grid, context):
        played(lambda grid, context: None, scene({"count": 1}))

    with pytest.raises(InputError, match="another Flower app is running"):
        played(main, scene({"count": 1}))
