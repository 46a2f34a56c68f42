"""Draws docs/images/quickstart.png from the two runs of `make run`."""

from pathlib import Path

import matplotlib.pyplot as plt

import simfl

runs = [simfl.open("runs/quickstart-sync"), simfl.open("runs/quickstart")]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
simfl.plot.accuracy(runs, target=0.95, ax=left)
simfl.plot.staleness_by_class(runs[1], ax=right)
left.set_title("the same phones, two strategies", fontsize=11)
right.set_title("how stale each class of device is", fontsize=11)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=120)
