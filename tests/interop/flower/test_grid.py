"""An app's calls on the virtual clock, with a Flower of our own: it runs where flwr is absent."""

from __future__ import annotations

from typing import Any

import pytest
from toyflower import SECOND, ToyMessage, answer, model, played, present, scene

from simfl.errors import PluginError, Stalled
from simfl.interop.flower import grid as grid_module
from simfl.interop.flower.protocol import EXPIRED, GONE, RAISED
from simfl.results.verify import verify


def notes(*devices: int, **more: Any) -> list[ToyMessage]:
    return [ToyMessage(device, weight=SECOND, **more) for device in devices]


def lawful(result: Any) -> bool:
    return [check.law for check in verify(result) if check.wrong] == []


def test_a_round_takes_its_download_training_and_upload() -> None:
    seen = []

    def main(grid, context):
        replies = grid.send_and_receive(notes(0, 1))
        seen.append((grid.now_s, [reply.device for reply in replies]))

    result = played(main, scene({"count": 2}))
    assert seen == [(3.0, [0, 1])]
    assert result.tasks["train_s"].tolist() == [1.0, 1.0]
    assert result.summary["ended"] == "app ended"
    assert lawful(result)


def test_a_timeout_cuts_stragglers_at_the_exact_second_and_their_replies_are_late() -> None:
    seen = []

    def main(grid, context):
        for _ in range(3):
            replies = grid.send_and_receive(notes(*range(5)), timeout=2.7)
            seen.append((grid.now_s, [reply.device for reply in replies]))
        grid.sleep(100.0)

    result = played(main, scene({"count": 3}, {"count": 2, "compute": {"gflops": 10.0}}))
    assert [now_s for now_s, _ in seen] == [2.7, 2.7 + 2.7, 2.7 + 2.7 + 2.7]
    assert seen[0][1] == [3, 4]
    late = result.tasks[result.tasks["cause"] == "late"]
    assert set(late["device"]) == {0, 1, 2}
    assert lawful(result)


@pytest.mark.parametrize(("timeout", "in_time"), [(3.0, [0]), (2.999, [])])
def test_a_reply_at_the_very_end_of_the_timeout_is_in_time(timeout, in_time) -> None:
    found = []

    def main(grid, context):
        found.extend(grid.send_and_receive(notes(0), timeout=timeout))

    played(main, scene({"count": 1}))
    assert [message.device for message in found] == in_time


@pytest.mark.parametrize(("leaves_s", "phase", "calls"), [(2.5, "upload", 2), (1.5, "train", 1)])
def test_a_lost_device_is_an_unavailable_node(leaves_s, phase, calls, tmp_path) -> None:
    """Mid-upload its code has run, and it remembers; mid-training it has not."""
    seen = []

    def main(grid, context):
        (reply,) = grid.send_and_receive(notes(0))
        seen.append((grid.now_s, reply.failure, reply.reason))
        grid.sleep(10.0 - grid.now_s)
        (reply,) = grid.send_and_receive(notes(0))
        seen.append(reply.metrics["calls"])

    path = present(tmp_path, [(0.0, leaves_s), (10.0, 99.0)])
    result = played(main, path)
    assert seen == [(leaves_s, GONE, "offline"), calls]
    assert result.tasks.iloc[0][["outcome", "phase"]].tolist() == ["lost", phase]
    assert lawful(result)


def test_news_of_a_loss_take_the_time_that_the_scenario_says(tmp_path) -> None:
    seen = []

    def main(grid, context):
        (reply,) = grid.send_and_receive(notes(0))
        seen.append((grid.now_s, reply.failure))

    played(main, present(tmp_path, [(0.0, 2.5)]), **{"strategy.notice_s": 60.0})
    assert seen == [(62.5, GONE)]


def test_a_message_to_a_busy_device_waits_and_keeps_its_version() -> None:
    def main(grid, context):
        (first,) = grid.push(notes(0, model=model(0.0)))
        grid.send_and_receive(notes(1, model=model(0.0)))
        (second,) = grid.push(notes(0, model=model(1.0)))
        for name in (first, second):
            while not grid.pull([name]):
                grid.sleep(0.5)
        grid.push(notes(0, model=model(2.0)))

    fast = {"compute": {"gflops": 1e6}, "network": {"down_mbps": 8.0, "up_mbps": 8.0}}
    result = played(main, scene({"count": 1}, {"count": 1, **fast}))
    mine = result.tasks[result.tasks["device"] == 0].sort_values("task")
    first, second = mine.iloc[:2].to_dict("records")
    assert (first["version"], second["version"]) == (0, 1)
    assert second["dispatched_s"] == first["ended_s"] == 3.0
    assert (first["staleness"], second["staleness"]) == (1, 0)
    assert lawful(result)


def test_a_pull_finds_what_has_arrived_and_two_in_a_row_wait_for_news() -> None:
    seen = []

    def main(grid, context):
        names = grid.push(notes(0))
        for _ in range(3):
            seen.append((len(grid.pull(names)), grid.now_s))

    played(main, scene({"count": 1}))
    assert seen == [(0, 0.0), (1, 3.0), (0, 3.0)]


def test_a_message_that_outlives_its_time_to_live_is_an_error() -> None:
    seen = []

    def main(grid, context):
        for reply in grid.send_and_receive(notes(0, 1, ttl=2.25)):
            seen.append((grid.now_s, reply.failure))
        grid.sleep(10.0)

    result = played(main, scene({"count": 2}))
    assert seen == [(2.25, EXPIRED)] * 2
    assert result.tasks["cause"].tolist() == ["late", "late"]


def test_a_message_that_waited_too_long_is_never_delivered() -> None:
    def main(grid, context):
        grid.push([*notes(0), *notes(0, ttl=2.0)])
        grid.sleep(10.0)

    assert len(played(main, scene({"count": 1})).tasks) == 1


def test_nodes_are_those_that_are_there(tmp_path) -> None:
    seen = []

    def main(grid, context):
        for _ in range(3):
            seen.append([node - grid_module.FIRST_NODE for node in grid.node_ids()])
            grid.sleep(2.0)

    played(main, present(tmp_path, [(0.0, 3.0)], [(1.0, 9.0)]))
    assert seen == [[0], [0, 1], [1]]


def test_a_limit_unwinds_the_app_and_no_except_clause_stops_it() -> None:
    def main(grid, context):
        while True:
            try:
                grid.send_and_receive(notes(0, 1))
            except Exception:
                pytest.fail("an app saw the end of its run")

    result = played(main, scene({"count": 2}, stop={"after_s": 10.0}))
    assert result.summary["ended"] == "after_s"
    assert result.summary["discarded"] == 6
    assert result.summary["in_flight"] == 2
    assert lawful(result)


def test_an_app_that_fails_leaves_what_was_seen(tmp_path) -> None:
    def main(grid, context):
        grid.send_and_receive(notes(0))
        raise KeyError("models")

    with pytest.raises(PluginError, match=r"t = 3 s, version 0, failed: KeyError\('models'\)"):
        played(main, scene({"count": 1}), out=tmp_path)
    assert (tmp_path / "tasks.parquet").exists()


def test_a_client_app_that_raises_is_an_error_reply(caplog) -> None:
    seen = []

    def main(grid, context):
        seen.extend(reply.failure for reply in grid.send_and_receive(notes(0, 1)))

    def client(message, context):
        if message.device:
            raise ZeroDivisionError("no examples")
        return answer(message, context)

    result = played(main, scene({"count": 2}), client)
    assert sorted(seen) == ["", RAISED]
    assert result.summary["client_errors"] == 1
    assert "client error" in set(result.tasks["cause"])
    assert "no examples" in caplog.text


def test_an_app_that_waits_for_ever_is_stalled(monkeypatch) -> None:
    monkeypatch.setattr(grid_module, "MOST_IDLE_SLEEPS", 100)

    def main(grid, context):
        while len(grid.node_ids()) < 3:
            grid.sleep(1.0)

    with pytest.raises(Stalled, match="more nodes than the fleet's 2 devices"):
        played(main, scene({"count": 2}))


def test_a_message_to_a_node_that_is_not_there_is_an_error() -> None:
    with pytest.raises(PluginError, match="node 1000009"):
        played(lambda grid, _: grid.push(notes(9)), scene({"count": 2}))
