"""Tests of processes find their toys by name, as a scenario does."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # world_toys
