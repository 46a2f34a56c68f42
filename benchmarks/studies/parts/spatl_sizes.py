"""What SPATL's messages weigh, and what a thinner model takes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from parts.spatl import alternately, thinned

from simfl.learn.datasets.base import Dataset
from simfl.learn.models.base import build
from simfl.learn.models.convnets import ConvNet, Vgg11
from simfl.learn.models.flat import FlatModule, params_of
from simfl.learn.models.resnet import Resnet20
from simfl.learn.models.structure import structure_of
from simfl.learn.trainers.one_by_one import single_thread
from simfl.params import Part
from simfl.strategy.methods.spatl.filters import choose, groups_of, masked, removed, scaled, shares
from simfl.wire.extras import pack_part

MIB = 2.0**20

PAPER_MB = {"ResNet-20": {"FedAvg": 2.1, "SCAFFOLD": 4.3, "SPATL": 2.1},
            "VGG-11": {"FedAvg": 42.0, "SCAFFOLD": 84.0, "SPATL": 61.3}}  # fmt: skip


def blank(channels: int, side: int) -> Dataset:
    x, y = torch.zeros(1, channels, side, side), torch.tensor([0])
    return Dataset("blank", x, y, x, y, 10)


def messages(cut: float = 0.397) -> pd.DataFrame:
    """MiB per client and round, by method and direction, with the paper's numbers beside."""
    rows = {}
    for name, factory in {"ResNet-20": Resnet20(), "VGG-11": Vgg11()}.items():
        model = build(factory, blank(3, 32), 0)
        params, structure = params_of(model), structure_of(model, torch.zeros(1, 3, 32, 32))
        layout = params.layout.select(structure.encoder)
        ratios = scaled(structure.convs, np.ones(len(structure.convs)), cut)
        groups = groups_of(structure, layout)
        chosen = choose(params.flat, structure, ratios)
        part = Part.of(params.select(structure.encoder).flat, groups, chosen)
        sent = part.nbytes + len(pack_part(part, layout, groups))
        whole, encoder = params.nbytes, 4 * layout.size
        for method, (up, down) in {
            "FedAvg": (whole, whole),
            "SCAFFOLD": (2 * whole, 2 * whole),
            "SPATL, explicit": (sent + 4 * int(part.layout.trainable), 2 * encoder),
            "SPATL, derived": (sent, 2 * encoder),
        }.items():
            rows[f"{name}, {method}"] = {
                "up": f"{up / MIB:.2f}",
                "down": f"{down / MIB:.2f}",
                "both": f"{(up + down) / MIB:.2f}",
                "Table I": str(PAPER_MB[name][method.partition(",")[0]]),
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("MiB per client and round")


def inference() -> pd.DataFrame:
    """FLOP and measured time of models without the filters that uniform ratios leave out."""
    rows = {}
    cases = {"VGG-11, 32x32": (Vgg11(), 3, 32, 32), "convnet 16-32-32, 8x8": (ConvNet(), 1, 8, 256)}
    for name, (factory, channels, side, batch) in cases.items():
        model = build(factory, blank(channels, side), 0).eval()
        x = torch.randn(batch, channels, side, side, generator=torch.Generator().manual_seed(0))
        structure, flat = structure_of(model, x[:1]), params_of(model).flat
        for cut in (0.2, 0.4, 0.6):
            ratios = scaled(structure.convs, np.ones(len(structure.convs)), cut)
            chosen = choose(flat, structure, ratios)
            small = thinned(model, list(chosen.split([conv.outputs for conv in structure.convs])))
            same = FlatModule(model)
            same.load(masked(flat, structure, chosen))
            with torch.no_grad(), single_thread():
                assert torch.allclose(small(x), same.module.eval()(x), atol=1e-4)
                took = alternately({"whole": lambda: model(x), "thin": lambda: small(x)})  # noqa: B023
            rows[f"{name}, cut {cut}"] = {
                "filters kept": f"{float(chosen.double().mean()):.2f}",
                "FLOP cut": f"{removed(structure.convs, shares(structure, chosen)):.2f}",
                "CPU ms, whole": f"{1e3 * took['whole']:.1f}",
                "CPU ms, thinned": f"{1e3 * took['thin']:.1f}",
                "times as fast": f"{took['whole'] / took['thin']:.2f}",
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
