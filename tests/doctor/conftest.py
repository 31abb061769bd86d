"""Tests here share `servers.py`; there are no packages of tests, so it is found by its folder."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
