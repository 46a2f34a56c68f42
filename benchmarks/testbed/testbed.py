"""A real Flower deployment, measured and predicted: `make testbed`. Needs root; takes an hour.

    python benchmarks/testbed/testbed.py [--cases a b ...] [--repeat 3] [--out runs/testbed]

Network namespaces with shaped links and CPU quotas make six clients of this machine. Two runs of
an empty task give the constants; no case is judged by a run that a constant was taken from. Every
case is then deployed, and played by simfl from the same app folder. See docs/fidelity.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calibrate import at_speed, constants, pooled
from cases import CALIBRATION, CASES
from hosts import trouble
from measure import keep
from predict import STEPS, compared, predict


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    options.add_argument("--repeat", type=int, default=3)
    options.add_argument("--out", type=Path, default=Path("runs/testbed"))
    options.add_argument("--predict-only", action="store_true", help="of runs that are in --out")
    options.add_argument("--measure-only", action="store_true", help="as much as --out lacks")
    chosen = options.parse_args()
    why = "" if chosen.predict_only else trouble()
    if why:
        print(f"the testbed cannot run here: {why}", file=sys.stderr)
        return 2
    try:
        if not chosen.predict_only:
            measure(chosen.cases, chosen.repeat, chosen.out)
        if not chosen.measure_only:
            report(chosen.cases, chosen.out)
    except KeyboardInterrupt:
        print("interrupted; what was started has been ended", file=sys.stderr)
        return 130
    return 0


def measure(cases: list[str], repeat: int, out: Path) -> None:
    """Plays calibration and cases; one file of JSON for each run, a run that is there is kept."""
    for number in range(repeat):
        for name, case in [*CALIBRATION.items(), *((name, CASES[name]) for name in cases)]:
            file = out / f"{name}-{number}.json"
            if file.exists() or (name in CALIBRATION and number > 1):
                continue
            with tempfile.TemporaryDirectory(prefix="testbed-") as folder:
                found = keep(name, case, Path(folder) / name, file)
            print(f"{name} {number}: {found['total_s']:.1f} s", flush=True)


def report(cases: list[str], out: Path) -> None:
    """What was measured beside what is predicted."""
    known = constants(*(pooled(read(out, name)) for name in CALIBRATION))
    print(json.dumps(known))
    for name in cases:
        measured = read(out, name)
        if not measured:
            continue
        mine = at_speed(known, measured)
        for steps in range(1, len(STEPS) + 1):
            with tempfile.TemporaryDirectory(prefix="testbed-") as folder:
                found = compared(measured, predict(CASES[name], mine, Path(folder), steps=steps))
            print(f"{name:8} {STEPS[steps - 1]:26} {line(found)}", flush=True)


def read(out: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(file.read_text("utf-8")) for file in sorted(out.glob(f"{name}-*.json"))]


def line(found: Mapping[str, Any]) -> str:
    measured = " ".join(f"{s:.1f}" for s in found["measured_s"])
    low, high = min(found["predicted_s"]), max(found["predicted_s"])
    parts = [f"measured {measured} s, predicted {low:.1f} to {high:.1f}: {found['total']:+.1%}"]
    if found["rounds"]:
        parts.append("rounds " + " ".join(f"{e:+.1%}" for e in found["rounds"].values()))
    parts.append("tasks " + " ".join(f"{kind} {e:+.1%}" for kind, e in found["tasks"].items()))
    return "; ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
