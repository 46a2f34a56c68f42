"""What the loops of a deployment add, by hand; and that they are Flower's."""

from __future__ import annotations

import inspect
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toyflower import SECOND, ToyMessage, model, played, present, scene

from simfl.cli import main as command
from simfl.errors import ScenarioError
from simfl.interop.flower.deployment.options import Flower122, Flower142
from simfl.interop.flower.run import scenario_of

#: A second each way and a second of training, after 2.7 s of set-up.
SLOW_START = {"count": 1, "compute": {"gflops": 1.0, "setup_s": 2.7}}


def deployed(**options: Any) -> dict[str, Any]:
    return {
        "strategy": {
            "kind": "simfl.interop.flower:App",
            "deployment": {"kind": "loops", **options},
        }
    }


def ask(grid: Any, n: int = 1, timeout: float | None = None, rounds: int = 1) -> list[Any]:
    found = []
    for value in range(rounds):
        sent = [ToyMessage(i, model=model(float(value)), weight=SECOND) for i in range(n)]
        found += grid.send_and_receive(sent, timeout)
    return found


def test_a_deployment_whose_options_are_all_off_changes_nothing_to_the_bit() -> None:
    fleet = [{"count": 5, "faults": {"drop_probability": 0.2}}, {"count": 2}]
    plain = played(lambda grid, context: ask(grid, 7, rounds=3), scene(*fleet))
    loops = played(lambda grid, context: ask(grid, 7, rounds=3), scene(*fleet, **deployed()))
    assert plain.tasks.equals(loops.tasks)
    assert plain.versions.equals(loops.versions)


@pytest.mark.parametrize("seed", range(6))
def test_a_reply_comes_when_the_loops_let_it(seed: int) -> None:
    """Question, process beside the download, look for the reply, look of the server, waits."""
    ended = []

    def main(grid: Any, context: Any) -> None:
        ask(grid)
        ended.append(grid.now_s)

    options = {
        "ask_s": 3.0,
        "launch": "beside-download",
        "reply_ask_s": 0.5,
        "pull_s": 3.0,
        "pull_backoff_s": [1.0, 10.0],
    }
    result = played(main, {**scene(SLOW_START, **deployed(**options)), "seed": seed})
    (task,) = result.tasks.itertuples()
    asked_s = task.dispatched_s
    assert 0.0 <= asked_s < 3.0
    assert task.download_s == pytest.approx(1.0)
    trained_s = 2.7 + 1.0  # after the question: the process is ready later than the message
    assert task.train_s == pytest.approx(0.5 * ceil((trained_s - 1.0) / 0.5))
    announced_s, here_s = asked_s + 4.0, asked_s + 5.0
    assert task.ended_s == pytest.approx(here_s)
    looked_s = 3.0 * ceil(announced_s / 3.0)
    tries_s = [looked_s + wait_s for wait_s in (0.0, 1.0, 3.0, 7.0)]
    assert ended == [pytest.approx(min(t for t in tries_s if t >= here_s))]


def test_a_device_asks_at_once_when_it_has_replied_and_then_at_intervals() -> None:
    asked: list[float] = []

    def main(grid: Any, context: Any) -> None:
        grid.push([ToyMessage(0, weight=SECOND), ToyMessage(0, weight=SECOND)])
        grid.sleep(20.0)
        grid.push([ToyMessage(0, weight=SECOND)])
        grid.sleep(20.0)

    result = played(main, scene({"count": 1}, **deployed(ask_s=4.0)))
    asked, ended = result.tasks["dispatched_s"].tolist(), result.tasks["ended_s"].tolist()
    assert asked[1] == ended[0]
    assert asked[2] == pytest.approx(ended[1] + 4.0 * ceil((20.0 - ended[1]) / 4.0))


def test_a_process_that_starts_before_training_waits_for_the_download() -> None:
    fleet = scene(SLOW_START, **deployed(launch="before-training", launch_cpu_s=0.5))
    (task,) = played(lambda grid, context: ask(grid), fleet).tasks.itertuples()
    assert task.train_s == pytest.approx(2.7 + 0.5 + 1.0)


def test_cpu_seconds_are_of_the_share_of_a_core_that_a_device_has() -> None:
    """Half a core, of which a tenth of a core is the daemons'; 900 bytes more are 0.9 s more."""
    options = {
        "core_gflops": 2.0,
        "idle_share": 0.1,
        "request_cpu_s": [0.4, 0.8],
        "reply_cpu_s": 1.2,
        "message_bytes": [0, 900],
        "header_share": 0.1,
    }
    fleet = scene({"count": 1}, **deployed(**options))
    (task,) = played(lambda grid, context: ask(grid), fleet).tasks.itertuples()
    assert task.download_s == pytest.approx(0.4 / 0.4 + (SECOND * 1.1 + 64) / 1000, abs=2e-3)
    assert task.train_s == pytest.approx(1.0 * 0.5 / 0.4 + 1.2 / 0.4)
    assert task.upload_s == pytest.approx(0.8 / 0.4 + ((SECOND + 900) * 1.1 + 64) / 1000, abs=2e-3)


def test_a_loop_with_a_timeout_ends_with_its_first_look_after_it() -> None:
    ended: list[Any] = []

    def main(grid: Any, context: Any) -> None:
        found = ask(grid, 2, timeout=5.0)
        ended.append((grid.now_s, [message.device for message in found]))

    slow = {"count": 1, "compute": {"gflops": 0.05}}
    options = {"pull_s": 3.0, "pull_backoff_s": [1.0, 10.0]}
    result = played(main, scene({"count": 1}, slow, **deployed(**options)))
    assert ended == [(6.0, [0])]
    assert result.tasks["outcome"].tolist()[-1] == "in_flight"


@pytest.mark.parametrize(("away_s", "low_s", "high_s"), [(1.5, 4.0, 6.0), (2.5, 30.0, 30.0)])
def test_a_loss_is_noticed_late_and_a_broken_upload_later(
    tmp_path: Path, away_s: float, low_s: float, high_s: float
) -> None:
    """The device goes while it trains, or while it uploads; each look is a second apart."""
    ended: list[Any] = []

    def main(grid: Any, context: Any) -> None:
        (reply,) = ask(grid)
        ended.append((grid.now_s, reply.failure))

    options = {"pull_s": 1.0, "pull_backoff_s": [1.0, 1.0], "notice_s": [4.0, 6.0]}
    fleet = present(tmp_path, [(0.0, away_s)])
    strategy = deployed(session_s=30.0, **options)["strategy"]
    played(main, fleet, **{f"strategy.{key}": value for key, value in strategy.items()})
    ((when_s, failure),) = ended
    assert failure
    assert away_s + low_s <= when_s <= away_s + high_s + 1.0


def test_an_app_that_pulls_for_itself_waits_for_what_is_announced() -> None:
    seen: list[tuple[float, int]] = []

    def main(grid: Any, context: Any) -> None:
        names = grid.push([ToyMessage(0, weight=SECOND)])
        while not (found := grid.pull(names)):
            seen.append((grid.now_s, 0))
            grid.sleep(0.4)
        seen.append((grid.now_s, len(found)))

    options = {"pull_s": 3.0, "pull_backoff_s": [2.0, 10.0]}
    played(main, scene({"count": 1}, **deployed(**options)))
    *empty, last = seen
    assert empty[-1] == (pytest.approx(1.6), 0)  # announced at 2, looked for at 2.0, here at 3
    assert last == (pytest.approx(4.0), 1)


def test_the_presets_are_what_the_source_of_flower_says() -> None:
    pytest.importorskip("flwr", minversion="1.42")
    from flwr.common import constant
    from flwr.supercore import constant as infrastructure
    from flwr.supercore.heartbeat import HeartbeatSender
    from flwr.supercore.inflatable import inflatable_utils
    from flwr.supercore.superexec import run_superexec
    from flwr.superlink.grid.http_grid import HttpGrid
    from flwr.supernode import start_client_internal as node

    preset = Flower142()
    assert f"time.sleep({preset.ask_s:g})" in inspect.getsource(node.start_client_internal)
    assert f"time.sleep({preset.reply_ask_s:g})" in inspect.getsource(node._push_messages)
    assert preset.launch_ask_s == run_superexec._DEFAULT_TASK_POLL_INTERVAL_SECONDS
    assert f"time.sleep({preset.pull_s:g})" in inspect.getsource(HttpGrid.send_and_receive)
    waits = (infrastructure.PULL_INITIAL_BACKOFF, infrastructure.PULL_BACKOFF_CAP)
    assert preset.pull_backoff_s == waits
    jitter = f"random.uniform(-{preset.pull_jitter:g}, {preset.pull_jitter:g})"
    assert jitter in inspect.getsource(inflatable_utils.pull_objects)
    assert preset.session_s == infrastructure.OBJECT_PUSH_SESSION_TTL_SECONDS
    there_s = constant.HEARTBEAT_PATIENCE * constant.HEARTBEAT_DEFAULT_INTERVAL
    beat_s = constant.HEARTBEAT_DEFAULT_INTERVAL - constant.HEARTBEAT_CALL_TIMEOUT
    beat_s *= constant.HEARTBEAT_BASE_MULTIPLIER + constant.HEARTBEAT_RANDOM_RANGE[1]
    assert "HEARTBEAT_CALL_TIMEOUT" in inspect.getsource(HeartbeatSender)
    assert preset.notice_s == (pytest.approx(there_s - beat_s), there_s)
    assert Flower122().ask_s == preset.ask_s


def test_explain_says_what_a_deployment_adds(tmp_path: Path, capsys: Any) -> None:
    import tomli_w

    file = tmp_path / "phones.toml"
    table = scene({"count": 1})
    table["strategy"] = {"kind": "simfl.interop.flower:App", "deployment": "flower-1.42"}
    file.write_text(tomli_w.dumps(table), "utf-8")
    assert command(["explain", str(file)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "asks for work each 3 s" in said
    assert "noticed after 37.5 to 60 s" in said


@pytest.mark.parametrize(
    ("deployment", "said"),
    [
        ("flower-1.43", "flower-1.42"),
        ({"kind": "flower-1.42", "ask": 3.0}, "ask_s"),
        ({"kind": "loops", "notice_s": [60.0, 30.0]}, "smaller one first"),
        ({"kind": "loops", "idle_share": 1.5}, "idle_share"),
    ],
)
def test_a_deployment_that_cannot_be_is_refused(deployment: Any, said: str) -> None:
    options = {"kind": "simfl.interop.flower:App", "deployment": deployment}
    with pytest.raises(ScenarioError, match=said):
        scenario_of(scene({"count": 1}, strategy=options))


def test_starts_of_a_process_spread_around_their_mean() -> None:
    fleet = scene({"count": 60, "compute": {"gflops": 1.0, "setup_s": 10.0}})
    spread = deployed(launch="before-training", launch_sigma=0.3)
    tasks = played(lambda grid, context: ask(grid, 60, rounds=3), {**fleet, **spread}).tasks
    starts_s = tasks["train_s"] - 1.0
    assert starts_s.mean() == pytest.approx(10.0, rel=0.07)
    assert np.log(starts_s).std() == pytest.approx(0.3, rel=0.15)
