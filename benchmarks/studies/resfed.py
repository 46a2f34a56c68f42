"""ResFed (Song et al., IEEE IoT Journal 11(6), 2024) on digits: accuracy, sizes, slow uplinks.

    python benchmarks/studies/resfed.py [--seeds 3] [--long | --rivals]

Writes docs/results/resfed.md and resfed.png. --long plays the CNN of 4.08 MB on CIFAR-10 instead,
seed 0, and writes its table and resfed-cifar10.png; it needs SIMFL_DATA_DIR. --rivals plays error
feedback in both directions and no more.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from parts import resfed_photographs as photographs
from parts.pages import markdown, put_block, verdicts
from parts.resfed import Added, Digits16, Ring, Swapped
from parts.resfed_ends import distances
from parts.resfed_sizes import counted_ratio, ratios
from parts.resfed_tables import by_method, by_participation, final, runs_of, to_target
from parts.whole import whole

import simfl
from simfl.cli.console import StudyProgress, err
from simfl.results.stats import target_table
from simfl.results.study import Study

PAGE = Path(__file__).parents[2] / "docs" / "results" / "resfed.md"
RUNS = Path("runs") / "studies" / "resfed"
SCENARIO = "resfed/resfed"
Claim = tuple[str, str, bool]
SETTING: dict[str, Any] = {
    "learning.dataset": Digits16(),
    "learning.partition": Ring(),
    "learning.lr": 0.05,
    "stop": {"versions": 150},
}


def resfed(rule: int | str, s: float = 0.95, q: int = 1, **more: Any) -> dict[str, Any]:
    """The codec, with the paper's names for its options."""
    return {"kind": "resfed", "rule": rule, "keep": round(1 - s, 4), "bits": q, **more}


def feedback(s: float = 0.95) -> dict[str, Any]:
    """The same coder for updates, with error feedback."""
    return {"kind": "mediansplit", "keep": round(1 - s, 4)}


def wire(up: Any = None, down: Any = None, **more: Any) -> dict[str, Any]:
    """Overrides for the codecs of either direction; without one, models are whole."""
    return {"wire.up": [up] if up else [], "wire.down": [down] if down else [], **more}


def both(codec: Any, **more: Any) -> dict[str, Any]:
    return wire(codec, codec, **more)


METHODS = {
    "FedAvg": wire(),
    "weight compression, up": wire(resfed("none")),
    "update compression, up": wire(resfed("g")),
    "update compression, error feedback, up": wire(feedback()),
    "QSGD, 3 levels, up": wire({"kind": "qsgd", "levels": 1}),
    "top-k, 1/40, error feedback, up": wire({"kind": "topk", "keep": 0.025}),
    "ResFed rule 0, up": wire(resfed(0)),
    "ResFed rule 1, up": wire(resfed(1)),
    "ResFed rule 2, up": wire(resfed(2)),
    "ResFed rule 2, up, s = .5, q = 8": wire(resfed(2, 0.5, 8)),
    "ResFed rule 0, both": both(resfed(0)),
    "ResFed rule 1, both": both(resfed(1)),
    "ResFed rule 1, both, shared start": both(resfed(1, start="shared")),
    "ResFed rule 2, both": both(resfed(2)),
    "ResFed rule 0, both, s = .99": both(resfed(0, 0.99)),
    "ResFed rule 1, both, s = .99": both(resfed(1, 0.99)),
    "ResFed rule 1, both, s = .995": both(resfed(1, 0.995)),
    "ResFed rule 1, both, s = .99, updates folded": both(Added(1, 0.01)),
    "update compression, error feedback, up, s = .99": wire(feedback(0.99)),
    "published code, id 0, both": both(Swapped(0, 0.05)),
    "published code, id 1, up": wire(Swapped(1, 0.05)),
    "published code, id 1, both": both(Swapped(1, 0.05)),
}

#: Feedback on the way up, and on the way down what the device's model lacks of the server's: the
#: closed loop of rule 0 sends next time what it left out, as feedback does.
RIVALS = {
    **{name: METHODS[name] for name in ("FedAvg", "ResFed rule 1, both")},
    "ResFed rule 1, both, shared start": METHODS["ResFed rule 1, both, shared start"],
    "error feedback up, whole models down": wire(feedback()),
    "error feedback up, rule 0 down": wire(feedback(), resfed(0)),
    "error feedback up, rule 0 down, shared start": wire(feedback(), resfed(0, start="shared")),
}

#: What is compared on slow links.
LINKED = (
    *("FedAvg", "QSGD, 3 levels, up", "top-k, 1/40, error feedback, up"),
    *("update compression, error feedback, up", "ResFed rule 1, up"),
    *("ResFed rule 1, both", "ResFed rule 1, both, shared start"),
)


def in_part() -> dict[str, dict[str, Any]]:
    """Partial participation: cohorts, losses, asynchrony."""
    codecs = {
        "FedAvg": wire(),
        "rule 1, both": both(resfed(1)),
        "rule 1, full down after a gap of 2": wire(resfed(1), resfed(1, max_gap=2)),
        "g up, rule 0 down, full after a gap of 2": wire(resfed("g"), resfed(0, max_gap=2)),
    }
    buffered = {"kind": "fedbuff", "concurrency": 10, "buffer": 5}
    ways: dict[str, dict[str, Any]] = {
        "5 of 10": {"strategy.cohort": 5},
        "3 of 10": {"strategy.cohort": 3},
        "a fifth of the tasks lost": {"fleet.group.0.faults": {"drop_probability": 0.2}},
        "buffers of 5, asynchronous": {"strategy": buffered},
    }
    return {f"{c}; {w}": codecs[c] | ways[w] for w in ways for c in codecs}


def played(name: str, methods: dict[str, Any], seeds: range, **more: Any) -> Study:
    """A study of these methods in the paper's setting. Ends the script where a cell fails."""
    out, seen = RUNS / name, StudyProgress(err())
    overrides = {**SETTING, **more}
    found = simfl.study(SCENARIO, methods, seeds=seeds, out=out, progress=seen, **overrides)
    return whole(found)


def at_target(study: Study) -> str:
    """Costs of the linked methods to the target, as a Markdown table."""
    found = study.at_target("FedAvg", accuracy=0.85)
    return markdown(target_table(found.loc[list(LINKED)]).drop(columns="device time"))


def acceptance(study: Study) -> pd.DataFrame:
    """The seven claims, each with what was measured."""
    rows = sorted([*exact(), *learnt(study), *mismatched()])
    return verdicts({claim: (measured, met) for claim, measured, met in rows})


def exact() -> list[Claim]:
    """What holds without any tolerance for learning: claims 1 to 3."""
    apart, equal, counted = lossless(), ends(resfed(1)), counted_ratio(0.95, 1)
    return [
        ("1: without loss it is FedAvg, rules 0, 1, 2, g", f"{apart:.1e} apart", apart < 1e-4),
        ("2: both ends equal after each exchange", f"{len(equal)} of them", max(equal) == 0),
        ("3: ratio 71 at s = .95 within 3 %", f"{counted:.2f}", abs(counted / 71 - 1) < 0.03),
    ]


def learnt(study: Study) -> list[Claim]:
    """Claims 4 to 6: means over seeds, and savings until the target, full models included."""
    runs = runs_of(study)
    mean = {name: float(np.mean([final(run) for run in some])) for name, some in runs.items()}
    plain, zero, one = mean["FedAvg"], mean["ResFed rule 0, both"], mean["ResFed rule 1, both"]
    weight = mean["weight compression, up"]
    up, down = (
        100 * (1 - to_target(runs["ResFed rule 1, both"], way) / to_target(runs["FedAvg"], way))
        for way in ("up_bytes", "down_bytes")
    )
    return [
        ("4a: at most 5 points below FedAvg", f"{one:.3f} to {plain:.3f}", plain - one <= 0.05),
        ("4b: at least 90 % fewer megabits up", f"{up:.1f} %", up >= 90),
        ("4c: at least 85 % fewer megabits down", f"{down:.1f} %", down >= 85),
        ("5: weight compression below .45", f"{weight:.3f}", weight < 0.45),
        ("6: rule 1 no worse than rule 0", f"{one:.3f} to {zero:.3f}", one >= zero),
    ]


def mismatched() -> list[Claim]:
    """Claim 7: the published code's receiver, without and with a digest."""
    found, noticed = ends(Swapped(1, 0.05)), refused()
    apart = [float(np.mean(found[10 * t - 10 : 10 * t])) for t in (5, 50, 150)]
    grows = 0 < apart[0] < apart[1] < apart[2]
    said = ", ".join(f"{distance:.3f}" for distance in apart) + " of the model's length"
    return [
        ("7a: mismatched ends drift apart (rounds 5, 50, 150)", said, grows),
        ("7b: and are caught by the digest", noticed, not noticed.startswith("0 ")),
    ]


def lossless() -> float:
    """Largest difference to FedAvg's model after ten rounds, over the rules, both ways."""
    plain = after_ten(wire())
    exact = [after_ten(both(resfed(rule, 0.0, 0))) for rule in (0, 1, 2, "g")]
    return max(float(np.abs(model - plain).max()) for model in exact)


def after_ten(codecs: dict[str, Any]) -> np.ndarray:
    """The server's model after ten rounds."""
    params = simfl.run(SCENARIO, **{**SETTING, "stop": {"versions": 10}}, **codecs).params
    assert params is not None
    return params.flat.numpy()


def ends(codec: Any) -> list[float]:
    """How far the two ends of a link are apart after each exchange, with this codec both ways."""
    return distances(SCENARIO, 0, **SETTING, **both(codec))


def refused() -> str:
    """Tasks of a run in which mismatched rules are noticed."""
    tasks = simfl.run(SCENARIO, **SETTING, **both(Swapped(1, 0.05, noticed=True))).tasks
    return f"{(tasks['cause'] == 'desynchronised').sum()} of {len(tasks)} tasks"


def rivals(seeds: range) -> None:
    """Error feedback both ways beside ResFed both ways: the same links, and NB-IoT."""
    study = played("rivals", RIVALS, seeds)
    iot = played("rivals-nb-iot", RIVALS, seeds, **{"fleet.group.0.network": "nb-iot"})
    put_block(PAGE, "rivals", markdown(by_method(study)))
    found = target_table(iot.at_target("FedAvg", accuracy=0.85)).drop(columns="device time")
    put_block(PAGE, "rivals, nb-iot", markdown(found))


def picture(study: Study, iot: Study) -> None:
    """Accuracy over what was sent up, and over time on links of both kinds."""
    shown = study.evaluations[study.evaluations["variant"].isin(LINKED)]
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.2), layout="constrained")
    titles = ("bytes both ways", "20 kbit/s up, 1 Mbit/s down", "NB-IoT")
    frames, ways = (shown, shown, iot.evaluations), ("bytes", "time", "time")
    for ax, title, frame, way in zip(axes, titles, frames, ways, strict=True):
        simfl.plot.bands(frame, against=way, target=0.85, ax=ax)
        ax.set_title(title, fontsize=10)
        ax.set_ylim(0.3, 1.0)
        ax.set_xscale("log") if way == "bytes" else ax.set_xlim(right=_far(frame))
        ax.get_legend().remove()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(PAGE.with_suffix(".png"), dpi=110)
    plt.close(figure)


def _far(frame: pd.DataFrame) -> float:
    """When plain FedAvg has made half of its rounds: enough to see who comes first."""
    plain = frame[(frame["variant"] == "FedAvg") & (frame["seed"] == frame["seed"].iloc[0])]
    return float(plain["time_s"].iloc[len(plain) // 2])


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--seeds", type=int, default=3)
    more = given.add_mutually_exclusive_group()
    more.add_argument("--long", action="store_true")
    more.add_argument("--rivals", action="store_true")
    options = given.parse_args()
    if options.long:
        long()
    else:
        rivals(range(options.seeds))
    if not options.long and not options.rivals:
        short(range(options.seeds))


def long() -> None:
    """The CNN on photographs."""
    study = played(
        "cifar10",
        {name: METHODS[name] for name in photographs.METHODS},
        range(1),
        **photographs.SETTING,
    )
    put_block(PAGE, "cifar10", markdown(photographs.costs(study)))
    photographs.drawn(study, PAGE.with_name("resfed-cifar10.png"))


def short(seeds: range) -> None:
    """Everything on digits."""
    study = played("digits", METHODS, seeds)
    linked = {name: codecs for name, codecs in METHODS.items() if name in LINKED}
    iot = played("nb-iot", linked, seeds, **{"fleet.group.0.network": "nb-iot"})
    away = played("in-part", in_part(), seeds, stop={"versions": 200})
    put_block(PAGE, "acceptance", markdown(acceptance(study)))
    put_block(PAGE, "methods", markdown(by_method(study)))
    put_block(PAGE, "slow-uplinks", at_target(study))
    put_block(PAGE, "nb-iot", at_target(iot))
    put_block(PAGE, "in-part", markdown(by_participation(away)))
    put_block(PAGE, "sizes", markdown(ratios()))
    picture(study, iot)


if __name__ == "__main__":
    main()
