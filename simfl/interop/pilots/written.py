"""The scenario of a pilot: what a calibration found, as a file."""

from __future__ import annotations

from typing import Any

from simfl.interop.flower.deployment.options import DEPLOYMENTS, Deployment
from simfl.interop.pilots.calibrate import GFLOP, Judged, Loops, calibrate
from simfl.interop.pilots.phases import Phases
from simfl.messages import FRAME_BYTES
from simfl.units import GFLOPS


def pilot(
    log: Phases,
    source: str,
    down_bytes: float | None = None,
    up_bytes: float | None = None,
    deployment: str = "",
) -> tuple[str, list[Judged]]:
    """(a scenario as TOML, how well each of its groups fits). Raises TraceError, ScenarioError.

    source: where the log is from.
    deployment: whose loops the pilot had; empty: none.
    """
    import tomli_w

    made: Deployment | None = DEPLOYMENTS.get(deployment)() if deployment else None
    found = calibrate(log, down_bytes, up_bytes, Loops() if made is None else _loops(made))
    down, up = (_parameters(nbytes) for nbytes in found.nbytes)
    table: dict[str, Any] = {
        "name": "pilot",
        "fleet": {"group": found.groups},
        "learning": {
            "dataset": "none",
            "parameters": down,
            **({} if up == down else {"up_parameters": up}),
            "examples": 1,
            "flops_per_example": GFLOP * GFLOPS,
        },
        **_strategy(deployment, sum(group["count"] for group in found.groups)),
    }
    devices = len(set(log.device.tolist()))
    head = f"# Fitted to {len(log)} tasks of {devices} devices, the phase log {source}.\n"
    return head + tomli_w.dumps(table), found.judged


def _parameters(nbytes: float) -> int:
    """As many as a message of this length has."""
    return max(1, round((nbytes - FRAME_BYTES) / 4.0))


def _strategy(deployment: str, devices: int) -> dict[str, Any]:
    """The app's place with its loops, or rounds of all devices."""
    if deployment:
        options = {"kind": "simfl.interop.flower:App", "train_gflop": GFLOP}
        return {"strategy": {**options, "deployment": deployment}}
    return {"strategy": {"kind": "fedavg", "cohort": devices}, "stop": {"versions": 10}}


def _loops(made: Deployment) -> Loops:
    beside = made.launch == "beside-download"
    return Loops(made.launch_ask_s, made.reply_ask_s, beside, asks=made.ask_s > 0.0)
