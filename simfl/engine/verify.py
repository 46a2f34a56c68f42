"""All that can be checked of a run folder: its ledger's laws, and its bytes against its codecs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from simfl.messages import FRAME_BYTES
from simfl.results.result import Result
from simfl.results.tables import DELIVERED, SCENARIO
from simfl.results.verify import LAWS, Check, checked, plays_an_app, verify
from simfl.scenario import Scenario, TimingOptions, load
from simfl.wire.chain import chain

LAW = "bytes are those of the codecs"


@dataclass(frozen=True)
class Sizes:
    """Bytes of a whole message each way. down: at least. up: None if it depends on the values."""

    down: int
    up: int | None


def audit(run: Result) -> list[Check]:
    """Every law, checked on a run. Raises InputError if its tables or scenario cannot be read."""
    scenario = load(run.folder / SCENARIO, trusted=False)
    checks = verify(run)
    sizes = sizes_of(run, scenario)
    if sizes is not None:
        wrong = partial(_wrong, sizes=sizes, scenario=scenario)
        checks.insert(len(LAWS), checked(LAW, wrong, run))
    return checks


def sizes_of(run: Result, scenario: Scenario) -> Sizes | None:
    """What the scenario's codecs make of the run's model; None where that cannot be known.

    Code that the scenario names is not loaded, so nothing is known of what it sends, and a Flower
    app's messages are its own.
    """
    from simfl.engine.exchange import upload_nbytes

    params = run.params
    if params is None or isinstance(scenario.learning, TimingOptions) or scenario.foreign:
        return None
    if plays_an_app(run.scenario.get("strategy", {})):
        return None
    down = chain(scenario.wire.down).nbytes(params.layout)
    up = upload_nbytes(chain(scenario.wire.up), scenario.strategy.local, params)
    return Sizes(FRAME_BYTES + (down or 0), None if up < 0 else FRAME_BYTES + up)


def _wrong(run: Result, sizes: Sizes, scenario: Scenario) -> str | None:
    """A device that may send a message again is charged for each."""
    tasks = run.tasks
    again = np.array([group.faults.retry is not None for group in scenario.fleet.group])
    retrying = again[run.devices["group"].to_numpy()][tasks["device"].to_numpy()]
    delivered = tasks["outcome"].isin(DELIVERED).to_numpy()
    down, up = tasks["down_bytes"].to_numpy(), tasks["up_bytes"].to_numpy()
    wrong = delivered & (down < sizes.down)
    if sizes.up is not None:
        desynchronised = (tasks["cause"] == "desynchronised").to_numpy()
        wrong |= delivered & ~desynchronised & (up < sizes.up)
        wrong |= ~retrying & (up > sizes.up)
    at = np.flatnonzero(wrong)
    if not len(at):
        return None
    told = "any size" if sizes.up is None else f"{sizes.up} bytes"
    return (
        f"task {tasks['task'].iloc[at[0]]} moved {down[at[0]]} bytes down and {up[at[0]]} up; the "
        f"codecs make at least {sizes.down} and {told}"
    )
