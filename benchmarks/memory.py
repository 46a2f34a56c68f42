"""Peak memory against concurrency and model size, beside what `simfl explain` says.

    python benchmarks/memory.py

Each run is a process of its own. Every update makes a version, so that nearly all tasks in flight
began from different ones: the worst case. Writes a table into docs/scaling.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
from studies.parts.pages import markdown, put_block

from simfl.results import formatting

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
CONCURRENCIES = (10, 40, 80)
HIDDEN = (5_000, 25_000, 150_000)  #: of an MLP on the digits: 1.5, 7.5 and 45 MB

RUN = """
import json, resource, sys
import simfl
from simfl.engine.footprint import loaded_bytes, parts_of
concurrency, hidden = map(int, sys.argv[1:])
options = {
    "strategy": {"kind": "fedasync", "concurrency": concurrency, "steps": 1},
    "learning.model": {"kind": "mlp", "hidden": [hidden]},
    "evaluate": {"every_versions": 10**6, "at_start": False},
    "stop": {"versions": 2 * concurrency},
}
from simfl.engine.explain import explain
from simfl.scenario import load
explain(load("quickstart", options))
before = loaded_bytes()
model = 4 * (64 * hidden + hidden + 10 * hidden + 10)
said = sum(parts_of(model, concurrency + 1, 1, 0).values())
run = simfl.run("quickstart", progress=False, **options)
alive = run.summary["models_alive_max"]
print(json.dumps([model, said, loaded_bytes(), before, alive]))
"""


def measured(concurrency: int, hidden: int) -> dict[str, str]:
    """One row of the table."""
    words = [sys.executable, "-c", RUN, str(concurrency), str(hidden)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    model, said, peak, before, alive = json.loads(done.stdout.splitlines()[-1])
    amounts = {"model": model, "explain says": said, "peak": peak, "of it before": before}
    row = {name: formatting.amount(value, "B") for name, value in amounts.items()}
    return {"concurrency": str(concurrency), **row, "versions alive": str(int(alive))}


def main() -> None:
    rows = [measured(one, hidden) for hidden in HIDDEN for one in CONCURRENCIES]
    put_block(PAGE, "memory", markdown(pd.DataFrame(rows).set_index("concurrency")))


if __name__ == "__main__":
    main()
