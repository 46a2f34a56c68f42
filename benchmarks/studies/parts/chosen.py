"""What tuning chose, for the table of a page."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from simfl.results.tuning import Best

RATE = "learning.lr"


def options_of(best: Best) -> dict[str, str]:
    """The best options of a method, the rate first, and which lie on the edge of their space."""
    names = {path: path.rpartition(".")[2] for path in best.options}
    own = [f"{names[path]} = {value:g}" for path, value in best.options.items() if path != RATE]
    edges = [f"{names[path]}, {side}" for path, side in best.edges.items() if side]
    return {
        "lr": f"{best.options[RATE]:g}",
        "own option": ", ".join(own) or "-",
        "on the edge": "; ".join(edges) or "-",
    }


def by_method(best: Mapping[str, Best]) -> pd.DataFrame:
    """The same for every method, with the share of right answers that it had on tuning seeds."""
    rows = {
        name: {**options_of(one), "tuning seeds, best": f"{100 * abs(one.value):.1f}"}
        for name, one in best.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
