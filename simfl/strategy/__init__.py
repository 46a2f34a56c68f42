"""DECIDES: who is asked, when, what a device does, and how answers fold into the model."""

from __future__ import annotations

from simfl.registry import Registry

STRATEGIES = Registry(
    "strategy",
    "simfl.strategies",
    {
        "fedavg": "simfl.strategy.rounds:FedAvg",
        "overselect": "simfl.strategy.rounds:OverSelect",
        "fedasync": "simfl.strategy.fedasync:FedAsync",
        "fedbuff": "simfl.strategy.fedbuff:FedBuff",
    },
)

LOCAL_RULES = Registry(
    "local rule",
    "simfl.local_rules",
    {
        "plain": "simfl.strategy.base:LocalRule",
        "proximal": "simfl.strategy.local:Proximal",
    },
)

WEIGHTINGS = Registry(
    "weighting",
    "simfl.weightings",
    {
        "constant": "simfl.strategy.weighting:Weighting",
        "hinge": "simfl.strategy.weighting:Hinge",
        "polynomial": "simfl.strategy.weighting:Polynomial",
    },
)

SELECTIONS = Registry(
    "selection",
    "simfl.selections",
    {
        "uniform": "simfl.strategy.selection:Selection",
        "weighted": "simfl.strategy.selection:Weighted",
    },
)

SERVER_OPTIMISERS = Registry(
    "server optimiser",
    "simfl.server_optimisers",
    {
        "plain": "simfl.strategy.optimiser:ServerOptimiser",
        "momentum": "simfl.strategy.optimiser:Momentum",
        "adagrad": "simfl.strategy.optimiser:Adagrad",
        "adam": "simfl.strategy.optimiser:Adam",
        "yogi": "simfl.strategy.optimiser:Yogi",
        "amsgrad": "simfl.strategy.optimiser:Amsgrad",
    },
)
