from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # lab.py, shared by these tests
sys.path.insert(0, str(HERE.parent / "plugin" / "src"))  # a strategy from somewhere else
