"""What a task costs on the clocks of two trees of simfl, asked in turn, beside a bare SimPy loop.

    python benchmarks/clock_beside.py OTHER_TREE [rounds] [completions]

OTHER_TREE: a work tree of another commit. One process for each tree stays and is asked in every
round, so that a machine that others use slows both; the bare loop follows each. CPU time.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]

_WORKER = """
import sys
sys.path[:0] = [{tree!r}, {tree!r} + "/benchmarks"]
import clock, simfl
assert simfl.__file__.startswith({tree!r}), simfl.__file__
for line in sys.stdin:
    n = int(line)
    print(1e6 / clock.engine(10_000, 1000, n), 1e6 / clock.bare_process(1000, n), flush=True)
"""


def worker(tree: Path) -> subprocess.Popen[str]:
    """A process that plays so many completions for each number that it reads."""
    code = _WORKER.format(tree=str(tree))
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=tree, stdin=-1, stdout=-1, text=True, bufsize=1
    )


def ask(process: subprocess.Popen[str], completions: int) -> tuple[float, float]:
    """Microseconds for each completion: of simfl, and of the bare loop."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{completions}\n")
    engine_us, bare_us = map(float, process.stdout.readline().split())
    return engine_us, bare_us


def main(other: str, rounds: int = 5, completions: int = 15_000) -> None:
    trees = [Path(other).resolve(), HERE]
    workers = [worker(tree) for tree in trees]
    for process in workers:
        ask(process, 2_000)
    found = [[ask(process, completions) for process in workers] for _ in range(rounds)]
    for tree, pairs in zip(trees, zip(*found, strict=True), strict=True):
        costs = [engine_us for engine_us, _ in pairs]
        ratio = statistics.median(bare_us / engine_us for engine_us, bare_us in pairs)
        median = statistics.median(costs)
        print(f"{tree}: {min(costs):.1f} us at least, median {median:.1f}, ratio {ratio:.3f}")
    for process in workers:
        process.communicate()


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
