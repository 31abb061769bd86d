"""The ElevenLabs SDK for JavaScript, unmodified, over HTTP (it has no socket of its own for speech)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

INSTALLED = Path(sys.prefix) / "js"
PROGRAM = Path(__file__).parent / "elevenlabs_js.mjs"
VOICE = "21m00Tcm4TlvDq8ikWAM"
TEXT = "Hello there, this is the first sentence. And here comes another one, a bit longer than the first."

pytestmark = [
    pytest.mark.clients,
    pytest.mark.espeak,
    pytest.mark.skipif(
        not (shutil.which("node") and (INSTALLED / "node_modules/@elevenlabs/elevenlabs-js").exists()),
        reason="`make clients` installs the JavaScript SDK where there is node and npm",
    ),
]


def test_it_speaks_and_lists_and_understands_refusals(
    server: Any, seconds_of: Callable[[str, str], float]
) -> None:
    done = subprocess.run(
        ["node", str(PROGRAM), server.http, VOICE, TEXT],
        cwd=INSTALLED,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    seconds = seconds_of(TEXT, VOICE)
    assert got["convert"] / 48000 == pytest.approx(seconds, rel=0.1)
    assert got["stream"] / 48000 == pytest.approx(seconds, rel=0.1)
    assert got["characters"] == TEXT
    assert len(got["page"]) == 3
    assert got["voices"] > 100
    assert "eleven_flash_v2_5" in got["models"]
    assert got["refused"]["status"] == 400
    assert "stability" in got["refused"]["message"]
