"""The law of bytes: a message has as many as its codecs make of the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simfl.engine.build import workload_of
from simfl.engine.loading import problem_of
from simfl.engine.verify.world import World
from simfl.messages import FRAME_BYTES
from simfl.results.tables import DELIVERED
from simfl.results.verify import Unchecked
from simfl.scenario import TimingOptions
from simfl.scenario.checks.edges import worked_for
from simfl.scenario.parts import kind_of
from simfl.strategy.common import Options
from simfl.wire.chain import chain

#: Strategies that send something beside the model without saying so in `extras`.
_SEND_MORE = ("quafl", "spatl", "asofed")


@dataclass(frozen=True)
class Sizes:
    """Bytes of a whole message each way.

    down: at least.
    up: None if it depends on the values.
    bare: nothing goes down beside the model, so that `down` is exact.
    """

    down: int
    up: int | None
    bare: bool


def sizes(w: World) -> str | None:
    """A device that may send a message again is charged for each."""
    tasks, size = w.run.tasks, _sizes(w)
    again = np.array([group.faults.retry is not None for group in w.scenario.fleet.group])
    retrying = again[w.run.devices["group"].to_numpy()][tasks["device"].to_numpy()]
    delivered = tasks["outcome"].isin(DELIVERED).to_numpy()
    down, up = tasks["down_bytes"].to_numpy(), tasks["up_bytes"].to_numpy()
    wrong = delivered & (down < size.down)
    if size.bare:
        wrong |= ~retrying & (down > size.down)
    if size.up is not None:
        desynchronised = (tasks["cause"] == "desynchronised").to_numpy()
        wrong |= delivered & ~desynchronised & (up < size.up)
        wrong |= ~retrying & (up > size.up)
    at = np.flatnonzero(wrong)
    if not len(at):
        return None
    most = "any size" if size.up is None else f"{size.up} bytes"
    return (
        f"task {tasks['task'].iloc[at[0]]} moved {down[at[0]]} bytes down and {up[at[0]]} up; the "
        f"codecs make {'' if size.bare else 'at least '}{size.down} and {most}"
    )


def _sizes(w: World) -> Sizes:
    """What the scenario's codecs make of the run's model. Raises Unchecked.

    Code that the scenario names is not loaded, so nothing is known of what it sends, and a Flower
    app's messages are its own.
    """
    from simfl.engine.exchange import upload_nbytes

    scenario, params = w.scenario, w.run.params
    if w.app:
        raise Unchecked("a Flower app's messages are its own")
    if scenario.foreign:
        raise Unchecked(f"{scenario.foreign[0]} is not loaded to ask what it sends")
    bare = _is_bare(worked_for(scenario)[1])
    if isinstance(scenario.learning, TimingOptions):
        stated = workload_of(scenario, problem_of(scenario, w.streams), w.streams, timing=True)
        down, up = stated.down_bytes, stated.up_bytes + stated.sent_bytes  # type: ignore[attr-defined]
        return Sizes(FRAME_BYTES + down, FRAME_BYTES + up, bare)
    if params is None:
        raise Unchecked("there is no model")
    known = chain(scenario.wire.down).nbytes(params.layout)
    up = upload_nbytes(chain(scenario.wire.up), scenario.strategy.local, params)
    bare = bare and known is not None
    return Sizes(FRAME_BYTES + (known or 0), None if up < 0 else FRAME_BYTES + up, bare)


def _is_bare(strategy: object) -> bool:
    plain = isinstance(strategy, Options) and type(strategy).extras is Options.extras
    return plain and kind_of(type(strategy)) not in _SEND_MORE
