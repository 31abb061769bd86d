"""Writes docs/reference from the code: docstrings and signatures, the table of errors, the command line's
help, the settings. `make reference` calls it; tests/test_reference.py compares.

griffe reads the source, docstrings of attributes included, which are not there at run time. What is public is
what `__all__` of the packages in `AREAS` names.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_type_hints

import click
import griffe
import msgspec
from docstrings import area, code_block

from mux.cli import mux as command_line
from mux.client.errors import speech_error
from mux.config import App, Settings, Speaker, VoiceRoute
from mux.config.loading import TABLES
from mux.config.tables import ENGINES
from mux.errors import ERRORS, Problem, Scope

AREAS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "client": ("The client", "What apps import, on asyncio and on trio.", ("mux", "mux.client")),
    "sync": ("The synchronous client", "For scripts without an event loop.", ("mux.sync",)),
    "testing": ("mux.testing", "A whole mux in memory, for tests of apps.", ("mux.testing",)),
    "mock": ("mux.mock", "The real services with faults, for tests of clients.", ("mux.mock",)),
}
"""Page to its title, what it is about, and its packages; a name is told of in the first that has it."""

HEADER = "<!-- Made by `make reference` from the code: change that. -->\n"


def main(directory: Path) -> None:
    made = pages()
    directory.mkdir(parents=True, exist_ok=True)
    for page in directory.glob("*.md"):
        page.unlink()
    for name, text in made.items():
        text = re.sub(r"\n{3,}", "\n\n", f"{HEADER}{text.rstrip()}\n")
        (directory / f"{name}.md").write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    options = griffe.GoogleOptions(warnings=False, returns_named_value=False)
    code = griffe.load("mux", docstring_parser="google", docstring_options=options, resolve_aliases=True)
    assert isinstance(code, griffe.Module)
    found = {name: "\n".join(area(code, *what)) for name, what in AREAS.items()}
    found["errors"] = "\n".join(errors())
    found["command-line"] = "\n".join(commands())
    found["configuration"] = "\n".join(configuration(code))
    titles = [(name, text.split("\n")[0].removeprefix("# ")) for name, text in found.items()]
    found["README"] = "# Reference\n\n" + "\n".join(f"- [{title}]({name}.md)" for name, title in titles)
    return found


def errors() -> Iterator[str]:
    yield "# Errors\n\nEvery failure has a code; `mux.errors.ERRORS` is the table.\n"
    yield (
        "`retryable` says whether the same request may succeed later. HTTP and close code are what a\n"
        "refused handshake and a closed socket say. The Python exception is that of the client.\n"
    )
    for scope in Scope:
        rows = [(code, row) for code, row in ERRORS.items() if row.scope is scope]
        if not rows:
            continue
        yield f"## Scope: {scope.value}\n"
        yield from table(
            ("code", "HTTP", "close", "retryable", "ElevenLabs", "KugelAudio", "Python"),
            (
                (
                    f"`{code}`",
                    str(row.http),
                    str(row.close),
                    "yes" if row.retryable else "no",
                    f"`{row.elevenlabs}`",
                    f"`{row.kugelaudio}`",
                    f"`{type(speech_error(Problem(code=code, message=''))).__name__}`",
                )
                for code, row in rows
            ),
        )


def commands() -> Iterator[str]:
    yield "# The command line\n"
    context = click.Context(command_line, info_name="mux", terminal_width=100)
    yield from command(context)


def command(context: click.Context) -> Iterator[str]:
    yield f"## {context.command_path}\n"
    yield code_block(context.get_help(), "text")
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            inner = context.command.get_command(context, name)
            assert inner is not None
            yield from command(click.Context(inner, parent=context, info_name=name, terminal_width=100))


def configuration(code: griffe.Module) -> Iterator[str]:
    yield "# Configuration\n"
    yield (
        "What `mux serve` can be told. Every key is a flag (`--max-sockets`), a variable\n"
        "(`MUX_MAX_SOCKETS`) and a key of a TOML file (`max_sockets`; `--config` or `MUX_CONFIG` names the\n"
        "file). Flags win over variables, variables over the file. Tables can be given in the file only.\n"
    )
    yield from settings(code, Settings)
    for kind, engine in ENGINES.items():
        yield f'## [engines.NAME] with kind = "{kind}"\n'
        yield from settings(code, engine)
    for title, one in (("[[voices]]", VoiceRoute), ("Who speaks for a voice", Speaker), ("[[apps]]", App)):
        yield f"## {title}\n"
        yield from settings(code, one)


def settings(code: griffe.Module, struct: type[msgspec.Struct]) -> Iterator[str]:
    if struct is not Settings:
        yield inspect.cleandoc(struct.__doc__ or "") + "\n"
    hints = get_type_hints(struct, include_extras=True)
    rows = []
    for field in msgspec.structs.fields(struct):
        if struct is Settings and field.name in TABLES:
            continue
        default = "" if field.required else "none" if field.default is None else f"`{shown(field)}`"
        metadata = getattr(hints[field.name], "__metadata__", ())
        allowed = next((meta.description for meta in metadata if meta.description), "")
        rows.append((f"`{field.name}`", default, allowed, meaning(code, struct, field.name)))
    yield from table(("key", "default", "allowed", ""), rows)


def shown(field: msgspec.structs.FieldInfo) -> str:
    """A default as TOML and JSON write it."""
    made = field.default_factory
    return msgspec.json.encode(made() if callable(made) else field.default).decode()


def meaning(code: griffe.Module, struct: type, name: str) -> str:
    """The docstring of a field, which a base class may have."""
    for owner in struct.__mro__:
        if owner.__module__.startswith("mux."):
            member = code[f"{owner.__module__.removeprefix('mux.')}.{owner.__name__}"].members.get(name)
            if member is not None and member.docstring is not None:
                return " ".join(member.docstring.value.split())
    return ""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    yield (
        "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines)
        + "\n"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "reference")
