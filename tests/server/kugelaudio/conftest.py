"""Tests here share `talking.py`, the other helpers of the server's tests, and the list of documented frames;
there are no packages of tests, so they are found by their folders."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
for folder in (HERE, HERE.parent, HERE.parents[2] / "proptests"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
