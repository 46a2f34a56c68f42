"""Flower apps on the virtual clock, unmodified: `simfl.flower`.

`run` plays a ServerApp and a ClientApp on a scenario's fleet, `run_folder` the app of a folder.
`App` holds the options that say what messages cost, `record` is an app's own word about its model.
See docs/flower.md. Flower is imported when an app is played.
"""

from __future__ import annotations

from simfl.interop.flower.hooks import record
from simfl.interop.flower.options import App
from simfl.interop.flower.run import run, run_folder

__all__ = ["App", "record", "run", "run_folder"]
