"""Draws docs/images/tuned.png from the study `simfl study studies/tuned`."""

from pathlib import Path

import matplotlib.pyplot as plt

import simfl

study = simfl.open("runs/tuned")
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
simfl.plot.bands(study, ax=left)
simfl.plot.time_to_target(study, ax=right)
left.set_xlim(0, 200)
left.set_title("each at its own best options, five seeds", fontsize=11)
right.set_title("what 95 % costs in virtual time", fontsize=11)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=120)
