"""The model of a run as a safetensors file that knows its layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from simfl.errors import InputError, first_line
from simfl.files import put, regular

if TYPE_CHECKING:
    from simfl.params import Params


def save_model(path: Path, params: Params) -> None:
    """Writes named tensors; their order and which of them are buffers go into the metadata."""
    from safetensors.torch import save

    where, trainable = params.layout.slices, params.layout.trainable
    buffers = [n for n, s in where.items() if s.start >= trainable]
    named = {name: params[name].detach().cpu().clone() for name in params}
    metadata = {"order": json.dumps(list(params)), "buffers": json.dumps(buffers)}
    put(path, save(named, metadata=metadata))


def load_model(path: Path) -> Params:
    """Reads what `save_model` wrote, bit for bit. Raises InputError if it cannot be read."""
    from safetensors import SafetensorError, safe_open

    from simfl.params import Params

    try:
        with safe_open(regular(path), framework="pt") as file:
            metadata = file.metadata() or {}
            names = json.loads(metadata.get("order", json.dumps(sorted(file.keys()))))
            named = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a model ({first_line(error)})") from error
    return Params.from_named(named, buffers=json.loads(metadata.get("buffers", "[]")))
