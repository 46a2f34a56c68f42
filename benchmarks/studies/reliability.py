"""What simfl survives, counted: kills, misspelt keys, damaged files.

    python benchmarks/studies/reliability.py [--kills 13] [--minutes 2]

Writes the tables of docs/reliability.md. The cases are those of the tests (tests/killing.py,
tests/spoiling.py, tests/fuzzing.py), only more of them; kills come at counted moments, and some at
random seconds from outside. Ends with an error if anything was lost.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "engine"))
import fuzzing
from killing import PHASES, Death, Executioner, Moment, executioner, moments_of
from parts.pages import markdown, put_block
from spoiling import SHIPPED, suggested, told, typos
from test_damage import TABLE
from test_resume import CASES, scenario

import simfl
from simfl.engine.verify import audit
from simfl.scenario import parse

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"

#: Kills of one run: some while it plays, the last while it is finished off.
A_RUN = 4
#: Seconds after which a fuzz case counts as hanging.
HANG_S = 30.0


@dataclass
class Tally:
    """What became of one case of runs that were killed."""

    deaths: list[Death] = field(default_factory=list)
    runs: int = 0
    equal: int = 0  #: of them, those that ended with the digest of the unbroken run
    lawful: int = 0  #: and those in which every law of `simfl verify` holds

    def row(self) -> dict[str, int]:
        phases = Counter(death.phase for death in self.deaths)
        return {
            "kills": len(self.deaths),
            **{phase: phases[phase] for phase in PHASES},
            "runs": self.runs,
            "same digest": self.equal,
            "all laws hold": self.lawful,
        }


def killed(case: str, kills: int, home: Path, one: Executioner) -> Tally:
    """Runs of a case, killed and resumed until there were so many kills."""
    path, tally, rng = home / f"{case}.toml", Tally(), random.Random(f"study {case}")
    path.write_text(parse(scenario(case)).to_toml(), "utf-8")
    whole = one.play(path, home / case / "whole")
    digest = simfl.open(home / case / "whole").digest
    while len(tally.deaths) < kills:
        out = home / case / str(tally.runs)
        for moment in _moments(whole, tally.runs, rng):
            death = one.play(path, out, moment)
            tally.deaths += [death] * death.killed
        one.play(path, out)
        resumed = simfl.open(out)
        tally.runs += 1
        tally.equal += resumed.digest == digest
        tally.lawful += not any(check.wrong for check in audit(resumed))
    return tally


def _moments(whole: Death, run: int, rng: random.Random) -> list[Moment]:
    """Counted moments; for each second run, seconds, which may come after its end."""
    if run % 2:
        return [Moment(after_s=rng.uniform(0.1, 1.0) * whole.wall_s) for _ in range(A_RUN)]
    return moments_of(whole, A_RUN, rng)


def kills_table(kills: int) -> pd.DataFrame:
    rows = {}
    with tempfile.TemporaryDirectory() as home, executioner() as one:
        for case in CASES:
            rows[case] = killed(case, kills, Path(home), one).row()
            print(f"{case}: {rows[case]['kills']} kills", flush=True)
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("case")
    table.loc["all"] = table.sum()
    return table


def typos_table() -> pd.DataFrame:
    """Every key of every shipped scenario, misspelt in every way."""
    rows: dict[str, Counter[str]] = {}
    for path in SHIPPED:
        for typo in typos(path, 4, random.Random(f"study {path.stem}")):
            row, said = rows.setdefault(typo.kind, Counter()), told(typo, path)
            row.update(tried=1, caught=bool(said), suggested=bool(said) and suggested(typo, said))
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("one letter")
    table.loc["all"] = table.sum()
    return table.rename(columns={"suggested": "right word suggested"})


def fuzzers(home: Path) -> dict[str, Iterator[fuzzing.Case]]:
    simfl.run(TABLE, out=home / "run")
    return {
        "scenarios": fuzzing.scenarios(random.Random(11)),
        "traces": fuzzing.traces(random.Random(12), home),
        "run folders": fuzzing.run_folders(random.Random(13), home / "run", home / "spare"),
        "checkpoints": fuzzing.checkpoints(random.Random(14), TABLE, home / "saved"),
    }


def fuzz_table(minutes: float) -> pd.DataFrame:
    """As many cases of each kind as fit into the time, all kinds sharing it equally."""
    rows = {}
    with tempfile.TemporaryDirectory() as home:
        each = fuzzers(Path(home))
        for kind, cases in each.items():
            end_s, counts, slowest_s = time.monotonic() + 60.0 * minutes / len(each), Counter(), 0.0
            while time.monotonic() < end_s:
                case = next(cases)
                bad = case.bad or case.seconds > HANG_S
                counts[("taken", "refused", "lost")[2 if bad else case.outcome == "refused"]] += 1
                slowest_s = max(slowest_s, case.seconds)
                if bad:
                    print(kind, fuzzing.shown(case), f"{case.seconds:.1f} s", flush=True)
            rows[kind] = {
                "cases": sum(counts.values()),
                "went on": counts["taken"],
                "refused in one paragraph": counts["refused"],
                "traceback, hang or loss": counts["lost"],
                "slowest, s": f"{slowest_s:.1f}",
            }
            print(kind, rows[kind], flush=True)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("damaged")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=13, help="of each case, at least")
    options.add_argument("--minutes", type=float, default=2.0, help="of fuzzing")
    given = options.parse_args()
    typed = typos_table()
    put_block(PAGE, "typos", markdown(typed))
    fuzzed = fuzz_table(given.minutes)
    put_block(PAGE, "fuzz", markdown(fuzzed))
    kills = kills_table(given.kills)
    put_block(PAGE, "kills", markdown(kills.drop(columns=list(PHASES))))
    moments = kills.loc[["all"], list(PHASES)].T.set_axis(["kills"], axis="columns")
    put_block(PAGE, "moments", markdown(moments.rename_axis("while")))
    whole = kills.loc["all"]
    lost = fuzzed["traceback, hang or loss"].sum() + (typed["tried"] - typed["caught"]).sum()
    lost += (whole["runs"] - whole["same digest"]) + (whole["runs"] - whole["all laws hold"])
    sys.exit(f"{lost} cases were lost" if lost else 0)


if __name__ == "__main__":
    main()
