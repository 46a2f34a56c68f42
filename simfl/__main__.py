"""`python -m simfl` is `simfl`."""

from __future__ import annotations

import sys

if not sys.flags.safe_path:  # Python puts the current folder first, where any random.py would do
    sys.path.append(sys.path.pop(0))

from simfl.cli import main

sys.exit(main())
