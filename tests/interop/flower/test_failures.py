"""What goes wrong in an app is said, and what had happened until then is kept."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from toyflower import SECOND, ToyFlower, ToyMessage, answer, model, played, scene

import simfl
from simfl.clock.watchdog import Watchdog
from simfl.errors import PluginError, Stalled
from simfl.interop.flower.app import Folder, code_of, loaded
from simfl.interop.flower.play import AppRun
from simfl.interop.flower.run import scenario_of
from simfl.results.verify import verify


def asking(*devices: int, kind: str = "train") -> Any:
    def main(grid, context):
        grid.send_and_receive([ToyMessage(device, kind, weight=SECOND) for device in devices])

    return main


def failing(*devices: int, error: type[BaseException] = ValueError) -> Any:
    def client(message, context):
        if message.device in devices:
            raise error(f"of device {message.device}")
        return answer(message, context)

    return client


# Exits.


@pytest.mark.parametrize("code", [None, 0, False])
def test_an_app_may_end_with_sys_exit(code: Any) -> None:
    def main(grid, context):
        asking(0)(grid, context)
        sys.exit(code)

    result = played(main, scene({"count": 1}))
    assert result.summary["ended"] == "app ended"
    assert len(result.tasks) == 1


@pytest.mark.parametrize("code", [3, "no data"])
def test_another_exit_code_is_an_error_and_tables_are_kept(code: Any, tmp_path: Path) -> None:
    def main(grid, context):
        asking(0)(grid, context)
        sys.exit(code)

    with pytest.raises(PluginError, match=f"t = 3 s, .*ended with sys.exit.{code!r}"):
        played(main, scene({"count": 1}), out=tmp_path)
    assert len(simfl.open(tmp_path).tasks) == 1
    assert simfl.open(tmp_path).summary["ended"].startswith("failed")


# Clients.


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_errors_of_clients_are_counted_and_told(error: type[BaseException], caplog: Any) -> None:
    result = played(asking(0, 1, 2), scene({"count": 3}), failing(1, error=error))
    assert result.headline()["client errors"].startswith(f"1 of 3, first: {error.__name__}: of dev")
    assert "calls for" not in caplog.text  # one of three is no warning
    assert "client errors" not in played(asking(0), scene({"count": 1})).headline()


def test_a_warning_says_that_half_of_the_clients_fail(caplog: Any) -> None:
    played(asking(0, 1), scene({"count": 2}), failing(1))
    assert "failed in 1 of 2 calls for 'train' messages, first with ValueError: of" in caplog.text


def test_a_run_whose_every_training_failed_is_an_error_with_tables(tmp_path: Path) -> None:
    """Evaluations that succeed do not hide it."""

    def main(grid, context):
        asking(0, 1)(grid, context)
        asking(0, 1, kind="evaluate")(grid, context)

    def client(message, context):
        return (failing(0, 1) if message.kind == "train" else answer)(message, context)

    with pytest.raises(PluginError, match=r"failed in 2 of 2 calls .* ValueError: of device 0"):
        played(main, scene({"count": 2}), client, out=tmp_path)
    left = simfl.open(tmp_path)
    assert len(left.tasks) == 4
    assert [check.law for check in verify(left) if check.wrong] == []


# Waiting for ever.


def test_more_nodes_than_the_fleet_has_are_refused_at_once() -> None:
    with pytest.raises(Stalled, match=r"6 connected \(minimum required: 10\)"):
        played(lambda grid, _: grid.need(10), scene({"count": 6}))
    played(lambda grid, _: grid.need(6), scene({"count": 6}))


def test_an_app_s_own_loop_that_waits_for_more_nodes_is_found_soon() -> None:
    looks = []

    def main(grid, context):
        while len(grid.node_ids()) < 7:
            looks.append(grid.now_s)
            time.sleep(1.0)

    with pytest.raises(Stalled, match="more nodes than the fleet's 6 devices"):
        played(main, scene({"count": 6}))
    assert len(looks) < 2000


def test_a_long_wait_that_polls_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many naps that a strategy without a version would be stopped."""
    monkeypatch.setattr(Watchdog, "FRUITLESS", 100)

    def main(grid, context):
        (name,) = grid.push([ToyMessage(0, weight=SECOND)])
        while not grid.pull([name]):
            time.sleep(0.5)

    slow = {"compute": {"gflops": 0.001}}
    assert played(main, scene({"count": 1, **slow})).tasks["ended_s"].tolist() == [1002.0]


# Signals.


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_app_s_own_code_at_once(by: signal.Signals, tmp_path: Path) -> None:
    reached = []

    def main(grid, context):
        asking(0)(grid, context)
        try:
            os.kill(os.getpid(), by)
            deadline = time.process_time() + 60.0
            while time.process_time() < deadline:
                sum((1, 2, 3))
            reached.append("the end")
        except Exception:
            reached.append("the app")

    with pytest.raises(KeyboardInterrupt):
        played(main, scene({"count": 1}), out=tmp_path)
    assert reached == []
    left = simfl.open(tmp_path)
    assert left.summary["ended"] == "interrupted"
    assert len(left.tasks) == 1


def test_a_signal_leaves_the_code_of_a_device(tmp_path: Path) -> None:
    def client(message, context):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60.0)

    with pytest.raises(KeyboardInterrupt):
        played(asking(0, 1), scene({"count": 2}), client, out=tmp_path)
    left = simfl.open(tmp_path)
    assert set(left.tasks["outcome"]) == {"in_flight"}
    assert [check.law for check in verify(left) if check.wrong] == []


def test_a_second_signal_ends_an_app_that_catches_everything(tmp_path: Path) -> None:
    def main(grid, context):
        asking(0)(grid, context)
        while True:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.0)
            except KeyboardInterrupt:
                raise
            except BaseException:  # as a bare `except:` does
                continue

    with pytest.raises(KeyboardInterrupt):
        played(main, scene({"count": 1}), out=tmp_path)
    assert len(simfl.open(tmp_path).tasks) == 1


# Folders.


@pytest.mark.parametrize("source", ["import no_such_thing", "raise SystemExit(2)"])
def test_an_app_that_cannot_be_imported_leaves_no_run_folder(source: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(source, "utf-8")
    folder = Folder(tmp_path, "broken", "broken:app", "broken:app", {})
    run = AppRun(
        scenario_of(scene({"count": 1})), loaded(folder), code_of(folder), ToyFlower(), None, False
    )
    with pytest.raises(PluginError, match="cannot be imported"):
        run(tmp_path / "out", None, None)
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_killed_leaves_tables_that_can_be_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed process leaves is what lies on disk at any moment."""

    monkeypatch.setattr(sys.modules["simfl.interop.flower.play"], "_WRITE_S", 0.0)
    seen = []

    def main(grid, context):
        for value in range(40):
            asked = [
                ToyMessage(0, model=model(value), weight=SECOND),
                ToyMessage(1, "evaluate", weight=SECOND),
            ]
            grid.send_and_receive(asked)
        left = simfl.open(tmp_path)
        seen.append((left.finished, len(left.tasks), left.summary["versions"]))
        seen.append([check.law for check in verify(left) if check.wrong])

    played(main, scene({"count": 2}), out=tmp_path)
    assert seen == [(False, 79, 39), []]
