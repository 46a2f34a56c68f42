"""Peak memory against concurrency and model size, with memory enough and with little.

    SIMFL_DATA_DIR=... python benchmarks/memory.py [CONCURRENCY...]

Ten thousand devices, and every update makes a version, so that nearly all tasks in flight began
from different ones: the worst case. Each run is a process of its own. It is given 1 GB to fill, and
where everything fits into half of this machine it is played again without that. `peak` is what the
process held at most, `on disk` what was moved there in all. Writes a table into docs/scaling.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from studies.parts.pages import markdown, put_block

from simfl.engine.footprint import allowed_bytes
from simfl.results import formatting

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
CONCURRENCIES = (10, 100, 1000)
HIDDEN = (470, 4_700, 14_150)  #: of an MLP on MNIST: 1.5, 15 and 45 MB
TIGHT_GB = 1.0

RUN = """
import json, sys, time
import simfl
from simfl.engine import overflow
from simfl.engine.footprint import loaded_bytes
concurrency, hidden, memory_gb, folder = json.loads(sys.argv[1])
moved, write = [0], overflow.on_disk
def counted(flat, where):
    moved[0] += flat.nbytes
    return write(flat, where)
overflow.on_disk = counted
start = time.perf_counter()
run = simfl.run({
    "fleet": {"group": [{"compute": {"kind": "exponential", "mean_s": 30.0}, "count": 10_000}]},
    "learning": {"dataset": "mnist", "model": {"kind": "mlp", "hidden": [hidden]}},
    "strategy": {"kind": "fedasync", "concurrency": concurrency, "steps": 1},
    "evaluate": {"every_versions": 10**6, "at_start": False},
    "stop": {"versions": concurrency + 50},
}, folder, memory_gb=memory_gb, progress=False)
alive = run.summary["models_alive_max"]
took_s = time.perf_counter() - start
print(json.dumps([loaded_bytes(), moved[0], alive, took_s, run.digest]))
"""


def played(concurrency: int, hidden: int, memory_gb: float | None) -> list[object]:
    """Peak, bytes moved to disk, versions alive, seconds, digest."""
    with tempfile.TemporaryDirectory() as folder:
        words = json.dumps([concurrency, hidden, memory_gb, folder])
        done = subprocess.run(
            [sys.executable, "-c", RUN, words], capture_output=True, text=True, check=True
        )
    found: list[object] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(concurrency: int, hidden: int) -> dict[str, str]:
    """One line of the table."""
    model = 4 * (784 * hidden + hidden + 10 * hidden + 10)
    tight = played(concurrency, hidden, TIGHT_GB)
    fits = (concurrency + 20) * model < allowed_bytes()
    roomy = played(concurrency, hidden, None) if fits else None
    assert roomy is None or roomy[-1] == tight[-1], "the digest moved"
    amount = lambda value: formatting.amount(value, "B")  # noqa: E731
    return {
        "devices at once": str(concurrency),
        "model": amount(model),
        "versions alive": str(tight[2]),
        "peak": "-" if roomy is None else amount(roomy[0]),
        "seconds": "-" if roomy is None else f"{roomy[3]:.0f}",
        f"peak with {TIGHT_GB:g} GB": amount(tight[0]),
        "on disk": amount(tight[1]),
        "seconds ": f"{tight[3]:.0f}",
    }


def main(concurrencies: list[int]) -> None:
    rows = []
    for concurrency in concurrencies or CONCURRENCIES:
        for hidden in HIDDEN:
            rows.append(row(concurrency, hidden))
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    print(markdown(table.set_index("devices at once")))
    if not concurrencies:
        put_block(PAGE, "memory", markdown(table.set_index("devices at once")))


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]])
