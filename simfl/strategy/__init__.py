"""DECIDES: who is asked, when, what a device does, and how answers fold into the model."""

from __future__ import annotations

from simfl.registry import Registry

STRATEGIES = Registry(
    "strategy",
    "simfl.strategies",
    {
        "fedavg": "simfl.strategy.methods.fedavg:FedAvg",
        "overselect": "simfl.strategy.methods.fedavg:OverSelect",
        "fedprox": "simfl.strategy.methods.fedprox:FedProx",
        "fednova": "simfl.strategy.methods.fednova:FedNova",
        "feddyn": "simfl.strategy.methods.feddyn:FedDyn",
        "asyncfeddyn": "simfl.strategy.methods.feddyn:AsyncFedDyn",
        "scaffold": "simfl.strategy.methods.scaffold:Scaffold",
        "fedasync": "simfl.strategy.methods.fedasync:FedAsync",
        "asyncfeded": "simfl.strategy.methods.asyncfeded:AsyncFedEd",
        "fedbuff": "simfl.strategy.methods.fedbuff:FedBuff",
        "delayadaptive": "simfl.strategy.methods.late.delay:DelayAdaptive",
        "fadas": "simfl.strategy.methods.late.delay:Fadas",
        "ca2fl": "simfl.strategy.methods.late.ca2fl:Ca2fl",
        "asyncscaffold": "simfl.strategy.methods.scaffold:AsyncScaffold",
        "dcasgd": "simfl.strategy.methods.late.dcasgd:DcAsgd",
        "asofed": "simfl.strategy.methods.late.asofed:AsoFed",
        "fedasmu": "simfl.strategy.methods.late.fedasmu:FedAsmu",
        "port": "simfl.strategy.methods.late.port:Port",
        "pisces": "simfl.strategy.methods.guided.pisces:Pisces",
        "refl": "simfl.strategy.methods.guided.refl:Refl",
        "fedat": "simfl.strategy.methods.fedat:FedAt",
        "safa": "simfl.strategy.methods.safa:Safa",
        "semisync": "simfl.strategy.methods.semisync:SemiSync",
        "twotiers": "simfl.strategy.methods.semisync:TwoTiers",
        "firstorder": "simfl.strategy.methods.semisync:FirstOrder",
        "gradientinversion": "simfl.strategy.methods.gradientinversion.strategy:GradientInversion",
        "quafl": "simfl.strategy.methods.quafl:Quafl",
        "favano": "simfl.strategy.methods.favano:Favano",
        "moon": "simfl.strategy.methods.moon:Moon",
        "signsgd": "simfl.strategy.methods.signsgd:SignSgd",
        "spatl": "simfl.strategy.methods.spatl.strategy:Spatl",
        "asyncspatl": "simfl.strategy.methods.spatl.strategy:AsyncSpatl",
        "hierarchical": "simfl.strategy.methods.hierarchical:Hierarchical",
    },
)

LOCAL_RULES = Registry(
    "local rule",
    "simfl.local_rules",
    {
        "plain": "simfl.strategy.base:LocalRule",
        "proximal": "simfl.strategy.local_rules:Proximal",
        "controlvariate": "simfl.strategy.methods.scaffold:ControlVariate",
        "dynamic": "simfl.strategy.methods.feddyn:Dynamic",
        "normalised": "simfl.strategy.methods.fednova:Normalised",
        "alone": "simfl.strategy.methods.personal.whole_model:Alone",
        "ditto": "simfl.strategy.methods.personal.whole_model:Ditto",
        "fedrep": "simfl.strategy.methods.personal.fedrep:FedRep",
        "finetuned": "simfl.strategy.methods.personal.whole_model:FineTuned",
        "privatehead": "simfl.strategy.methods.spatl.private:PrivateHead",
        "salient": "simfl.strategy.methods.spatl.salient:Salient",
        "contrastive": "simfl.strategy.methods.moon:Contrastive",
        "balanced": "simfl.strategy.methods.late.asofed:Balanced",
        "ownmodel": "simfl.strategy.methods.quafl:OwnModel",
        "returnsbase": "simfl.strategy.methods.asyncfeded:ReturnsBase",
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
        "oort": "simfl.strategy.methods.guided.oort:Oort",
        "fedcs": "simfl.strategy.methods.guided.fedcs:FedCs",
        "refl": "simfl.strategy.methods.guided.refl:ReflSelection",
        "tifl": "simfl.strategy.methods.guided.tifl:Tifl",
        "pisces": "simfl.strategy.methods.guided.pisces:PiscesSelection",
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
