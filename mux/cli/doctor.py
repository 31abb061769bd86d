"""`mux doctor`: says why a socket does not work, and what to do about it."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import click
import msgspec
from rich.console import Console
from rich.text import Text

from mux.doctor.case import key_from, read_case
from mux.doctor.examination import examine
from mux.doctor.findings import Finding, Verdict
from mux.server.logs import configure_logging
from mux.server.run import run_program

__all__ = ["command"]

WIDTH = 110
"""Columns where there is no terminal."""
LEFT, RIGHT = 18, 9
"""Columns before and after a line's sentence: what was tried, and how long it took."""
MARKS: dict[Verdict, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "warning": ("warn", "yellow"),
    "problem": ("FAIL", "bold red"),
    "skipped": ("-", "dim"),
}


@click.command("doctor")
@click.argument("url", required=False)
@click.option("--api-key", help="The key (also ELEVENLABS_API_KEY, KUGELAUDIO_API_KEY or MUX_API_KEY).")
@click.option(
    "--dialect",
    type=click.Choice(["elevenlabs", "kugelaudio"]),
    help="The wire, where the URL does not tell it.",
)
@click.option("--voice", help="The voice id.  [default: the URL's]")
@click.option("--model", help="The model id.  [default: the URL's]")
@click.option("--output-format", help="The format, such as pcm_24000.  [default: the URL's]")
@click.option("--language", help="The language.  [default: the URL's]")
@click.option(
    "--inactivity-timeout", type=float, help="What the app asks for, in seconds.  [default: the URL's]"
)
@click.option(
    "--contexts",
    type=click.IntRange(0, 100),
    help="How many contexts the app has open at once on a socket; each is tried with a short word, which "
    "costs its characters. 0: none.  [default: as many as the service allows]",
)
@click.option("--keepalive", help="The text that the app sends to keep alive.  [default: the right one]")
@click.option("--quick", is_flag=True, help="Do not wait to see keepalive and timeout at work.")
@click.option("--har", type=click.Path(path_type=Path), help="Explain a recorded exchange instead.")
@click.option("--log", type=click.Path(path_type=Path), help="Explain an excerpt of a log instead.")
@click.option("--json", "as_json", is_flag=True, help="One finding a line, as JSON.")
def command(
    url: str | None,
    api_key: str | None,
    har: Path | None,
    log: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Say why a socket does not work, and what to do about it.

    URL is the one that the app opens, with its query, or a service's base URL. Tried are name, TCP, TLS,
    handshake, key, voice, model, format, a spoken word, keepalive, timeout, several contexts, and the close.

    Ends with 0 if no problem was found, with 1 if there was one, and with 2 if it could not be tried.
    """
    given = [one for one in (url, har, log) if one is not None]
    if len(given) != 1:
        raise click.UsageError("Give one of: a URL, --har FILE, --log FILE.")
    configure_logging("text", "error")
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    lines = _Lines(console)
    tell = _tell_json if as_json else lines.tell
    if url is None:
        findings = _explain_file(har, log)
        for finding in findings:
            tell(finding)
    else:
        case = read_case(url, api_key=key_from(os.environ, url) if api_key is None else api_key, **options)
        if not as_json:
            shown = urlunsplit(urlsplit(case.url)._replace(query=""))
            console.print(Text(f"{shown}, as {case.dialect}"), soft_wrap=True)
        findings = run_program(lambda: examine(case, tell), "asyncio")
    if not as_json:
        lines.flush()
        _conclude(console, findings)
    sys.exit(1 if any(finding.verdict == "problem" for finding in findings) else 0)


def _explain_file(har: Path | None, log: Path | None) -> Sequence[Finding]:
    from mux.doctor.files import explain_har, explain_log

    if har is not None:
        return explain_har(har)
    assert log is not None
    return explain_log(log)


def _tell_json(finding: Finding) -> None:
    click.echo(msgspec.json.encode(finding))


class _Lines:
    """One line for one finding; what was not tried, for the same reason, is one line too."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._skipped: list[Finding] = []

    def tell(self, finding: Finding) -> None:
        if self._skipped and finding.sentence != self._skipped[0].sentence:
            self.flush()
        if finding.verdict == "skipped":
            self._skipped.append(finding)
            return
        took = "" if finding.seconds is None else _duration(finding.seconds)
        sentence = finding.sentence if finding.context is None else f"{finding.context}: {finding.sentence}"
        self._line(finding.verdict, finding.step, sentence, took)

    def flush(self) -> None:
        if self._skipped:
            steps = ", ".join(finding.step for finding in self._skipped)
            self._line("skipped", "", f"{steps}: {self._skipped[0].sentence}", "")
            self._skipped.clear()

    def _line(self, verdict: Verdict, step: str, sentence: str, took: str) -> None:
        word, style = MARKS[verdict]
        width = max(30, self._console.width - LEFT - RIGHT)
        first, *rest = _wrapped(sentence, width)
        if took:
            first = f"{first:<{width}}{took:>{RIGHT}}"
        self._console.print(Text.assemble("  ", (f"{word:<5}", style), f"{step:<11}", first), soft_wrap=True)
        for line in rest:
            self._console.print(Text(" " * LEFT + line), soft_wrap=True)


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _conclude(console: Console, findings: Sequence[Finding]) -> None:
    """What was found, each cause once, problems first, with its remedy."""
    told = [finding for finding in findings if finding.cause is not None]
    told.sort(key=lambda finding: finding.verdict != "problem")
    causes: dict[str, list[Finding]] = {}
    for finding in told:
        causes.setdefault(str(finding.cause), []).append(finding)
    console.print()
    for cause, group in causes.items():
        first = group[0]
        word, style = ("problem", "bold red") if first.verdict == "problem" else ("warning", "yellow")
        head, *rest = _wrapped(f"{word} {cause}: {first.sentence}", console.width)
        console.print(Text.assemble((word, style), head.removeprefix(word)), soft_wrap=True)
        for line in rest:
            console.print(Text(line), soft_wrap=True)
        if first.remedy:
            _indented(console, first.remedy)
        for fact in dict.fromkeys(fact for finding in group for fact in finding.evidence):
            _indented(console, f"seen: {fact}", "dim")
    problems = sum(group[0].verdict == "problem" for group in causes.values())
    if problems:
        console.print(Text(f"{problems} {'problem' if problems == 1 else 'problems'} found.", "bold red"))
    else:
        console.print(Text("No problem found.", "green"))


def _indented(console: Console, text: str, style: str = "") -> None:
    for line in _wrapped(text, console.width - 4):
        console.print(Text("    " + line, style), soft_wrap=True)


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns; names with hyphens, and URLs, stay whole."""
    return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)
