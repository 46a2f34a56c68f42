"""TRAVELS: how tensors become bytes and come back. Codecs by name; `chain` joins them."""

from __future__ import annotations

from simfl.registry import Registry

CODECS = Registry(
    "codec",
    "simfl.codecs",
    {
        "identity": "simfl.wire.codec:Codec",
        "topk": "simfl.wire.sparse:TopK",
        "randomk": "simfl.wire.sparse:RandomK",
        "quantize": "simfl.wire.quantize:Quantize",
        "qsgd": "simfl.wire.quantize:QSGD",
        "sign": "simfl.wire.sign_half:Sign",
        "fp16": "simfl.wire.sign_half:FP16",
        "bf16": "simfl.wire.sign_half:BF16",
        "mediansplit": "simfl.wire.mediansplit:MedianSplit",
        "resfed": "simfl.wire.resfed:ResFed",
    },
)
