"""Where settings come from: flags win over `MUX_*` variables, those over a TOML file, those over the
defaults. A name or value that is not understood is refused, never ignored."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from mux.config.settings import PREFIX, Settings, unknown_engine
from mux.config.tables import SHORT, read_app, read_engine, read_voice
from mux.config.values import convert, known, refuse

__all__ = ["FIELDS", "LISTS", "load_settings"]

CONFIG_VARIABLE = "MUX_CONFIG"
OTHER_VARIABLES = frozenset({CONFIG_VARIABLE, "MUX_API_KEY"})
"""`MUX_*` variables that are not settings of the server: the file's name, the client commands' own key."""

TABLES = ("engines", "voices", "apps")
"""Fields that only a file can give."""
FIELDS: Mapping[str, Any] = {
    name: hint for name, hint in get_type_hints(Settings, include_extras=True).items() if name not in TABLES
}
"""Field name to type, of the others; `Annotated` with what it may be."""
LISTS = frozenset({"api_keys", "allowed_origins"})
"""Fields that a variable gives comma-separated."""

_ENGINE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


def load_settings(
    flags: Mapping[str, object], environ: Mapping[str, str], config_file: Path | None = None
) -> Settings:
    """Put the settings together.

    Args:
        flags: field name to value as given on the command line; None means not given.
        environ: the process's environment; an empty variable counts as not given.
        config_file: a TOML file of field names; without one, the variable `MUX_CONFIG` may name it.

    Raises:
        MuxError: `invalid_config`, naming the setting, its source, and what is allowed.
    """
    if config_file is None and environ.get(CONFIG_VARIABLE):
        config_file = Path(environ[CONFIG_VARIABLE])
    table = {} if config_file is None else _parsed(config_file)
    tables = _tables(table, config_file, environ)
    given = {name: (value, f"the key {name} in {config_file}") for name, value in table.items()}
    for name, (_, source) in given.items():
        known(name, (*FIELDS, *TABLES), f"T{source[1:]}")
    values = {
        name: (convert(name, value, FIELDS[name], source, strict=True), source)
        for name, (value, source) in given.items()
        if name not in TABLES
    }
    values |= _from_variables(environ, _key_variables(table))
    for name, value in flags.items():
        if value is not None:
            source = f"the flag --{name.replace('_', '-')}"
            known(name, FIELDS, f"T{source[1:]}")
            values[name] = (_from_text(name, value, source), source)
    _check_engine(*values.get("engine", (None, "")), tables["engines"])
    return Settings(**{name: value for name, (value, _) in values.items()}, **tables)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        refuse(f"The config file {path} cannot be read: {error.strerror}. Correct the path, or leave it out.")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        # tomllib says where, and at most one character of what it found.
        refuse(f"The config file {path} is not valid TOML: {error}.")


def _tables(table: Mapping[str, Any], path: Path | None, environ: Mapping[str, str]) -> dict[str, Any]:
    engines, voices, apps = table.get("engines", {}), table.get("voices", []), table.get("apps", [])
    if not isinstance(engines, dict):
        refuse(f"engines must be tables [engines.NAME]; the key engines in {path} is none.")
    for name, value in (("voices", voices), ("apps", apps)):
        if not isinstance(value, list):
            refuse(f"{name} must be tables [[{name}]]; the key {name} in {path} is none.")
    for name in engines:
        if not _ENGINE_NAME.fullmatch(name):
            refuse(
                f"{name!r:.60} in {path} is no name of an engine. Use up to 40 letters, digits, _, . and -,"
                " and begin with a letter or digit."
            )
    return {
        "engines": {
            name: read_engine(engine, f"[engines.{name}] in {path}", environ)
            for name, engine in engines.items()
        },
        "voices": tuple(
            read_voice(voice, f"[[voices]] number {number} in {path}")
            for number, voice in enumerate(voices, 1)
        ),
        "apps": tuple(
            read_app(app, f"[[apps]] number {number} in {path}", f"app-{number}", environ)
            for number, app in enumerate(apps, 1)
        ),
    }


def _key_variables(table: Mapping[str, Any]) -> frozenset[str]:
    """The variables that the file's tables take keys from."""
    tables = [*table.get("engines", {}).values(), *table.get("apps", ())]
    return frozenset(one["key_env"] for one in tables if "key_env" in one)


def _from_variables(environ: Mapping[str, str], taken: frozenset[str]) -> dict[str, tuple[Any, str]]:
    fields = {f"{PREFIX}{name.upper()}": name for name in FIELDS}
    values: dict[str, tuple[Any, str]] = {}
    for variable, text in environ.items():
        if variable.startswith(PREFIX) and variable not in OTHER_VARIABLES | taken:
            source = f"the variable {variable}"
            name = fields[known(variable, fields, f"T{source[1:]}")]
            if text.strip():
                values[name] = (_from_text(name, text.strip(), source), source)
    return values


def _from_text(name: str, value: object, source: str) -> Any:
    if isinstance(value, str) and name in LISTS:
        value = [item.strip() for item in value.split(",") if item.strip()]
    return convert(name, value, FIELDS[name], source, strict=False)


def _check_engine(name: str | None, source: str, tables: Mapping[str, object]) -> None:
    """`Settings` checks that, too, but does not know where the name came from."""
    built_in = ("espeak", "tone")
    if name is not None and name not in (*built_in, *SHORT, *tables):
        refuse(unknown_engine(f"{source} gives {name!r:.60}", (*built_in, *tables)))
