"""How much sooner than synchronous rounds? Writes docs/results/speedup.md and its picture."""

from __future__ import annotations

from pathlib import Path

from matplotlib import pyplot as plt
from parts.pages import markdown, put_block

import simfl
from simfl.cli.console import StudyProgress, err
from simfl.results.stats import target_table

PAGE = Path(__file__).parents[2] / "docs" / "results" / "speedup.md"


def main() -> None:
    study = simfl.study(
        "studies/speedup", out="runs/studies/speedup", workers=2, progress=StudyProgress(err())
    )
    put_block(PAGE, "costs", markdown(target_table(study.at_target())))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    simfl.plot.bands(study, target=0.95, ax=left)
    simfl.plot.time_to_target(study, ax=right)
    figure.savefig(PAGE.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
