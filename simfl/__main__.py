"""`python -m simfl` is `simfl`."""

from __future__ import annotations

import sys

from simfl.cli import main

sys.exit(main())
