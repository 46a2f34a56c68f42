"""DECIDES: who is asked, when, what a device does, and how answers fold into the model."""

from __future__ import annotations

from simfl.registry import Registry

STRATEGIES = Registry(
    "strategy",
    "simfl.strategies",
    {
        "fedavg": "simfl.strategy.rounds:FedAvg",
        "overselect": "simfl.strategy.rounds:OverSelect",
        "fedprox": "simfl.strategy.fedprox:FedProx",
        "fednova": "simfl.strategy.fednova:FedNova",
        "feddyn": "simfl.strategy.feddyn:FedDyn",
        "asyncfeddyn": "simfl.strategy.feddyn:AsyncFedDyn",
        "scaffold": "simfl.strategy.scaffold:Scaffold",
        "fedasync": "simfl.strategy.fedasync:FedAsync",
        "asyncfeded": "simfl.strategy.asyncfeded:AsyncFedEd",
        "fedbuff": "simfl.strategy.fedbuff:FedBuff",
        "delayadaptive": "simfl.strategy.delay:DelayAdaptive",
        "fadas": "simfl.strategy.delay:Fadas",
        "ca2fl": "simfl.strategy.ca2fl:Ca2fl",
        "asyncscaffold": "simfl.strategy.scaffold:AsyncScaffold",
        "dcasgd": "simfl.strategy.dcasgd:DcAsgd",
        "port": "simfl.strategy.port:Port",
        "pisces": "simfl.strategy.pisces:Pisces",
        "fedat": "simfl.strategy.fedat:FedAt",
        "safa": "simfl.strategy.safa:Safa",
        "semisync": "simfl.strategy.semisync:SemiSync",
        "twotiers": "simfl.strategy.semisync:TwoTiers",
        "firstorder": "simfl.strategy.semisync:FirstOrder",
        "gradientinversion": "simfl.strategy.gradientinversion:GradientInversion",
        "quafl": "simfl.strategy.quafl:Quafl",
        "signsgd": "simfl.strategy.signsgd:SignSgd",
        "spatl": "simfl.strategy.spatl.strategy:Spatl",
        "asyncspatl": "simfl.strategy.spatl.strategy:AsyncSpatl",
    },
)

LOCAL_RULES = Registry(
    "local rule",
    "simfl.local_rules",
    {
        "plain": "simfl.strategy.base:LocalRule",
        "proximal": "simfl.strategy.local:Proximal",
        "controlvariate": "simfl.strategy.scaffold:ControlVariate",
        "dynamic": "simfl.strategy.feddyn:Dynamic",
        "normalised": "simfl.strategy.fednova:Normalised",
        "privatehead": "simfl.strategy.spatl.private:PrivateHead",
        "salient": "simfl.strategy.spatl.salient:Salient",
        "ownmodel": "simfl.strategy.quafl:OwnModel",
        "returnsbase": "simfl.strategy.asyncfeded:ReturnsBase",
    },
)

WEIGHTINGS = Registry(
    "weighting",
    "simfl.weightings",
    {
        "constant": "simfl.strategy.weighting:Weighting",
        "hinge": "simfl.strategy.weighting:Hinge",
        "polynomial": "simfl.strategy.weighting:Polynomial",
        "sigmoid": "simfl.strategy.weighting:Sigmoid",
    },
)

SELECTIONS = Registry(
    "selection",
    "simfl.selections",
    {
        "uniform": "simfl.strategy.selection:Selection",
        "coin": "simfl.strategy.selection:Coin",
        "cyclic": "simfl.strategy.selection:Cyclic",
        "weighted": "simfl.strategy.selection:Weighted",
        "oort": "simfl.strategy.oort:Oort",
        "tifl": "simfl.strategy.tifl:Tifl",
        "pisces": "simfl.strategy.pisces:PiscesSelection",
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
