from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mux.config import Settings, is_loopback, load_settings
from mux.errors import MuxError

KEY = "sk-very-secret-0123456789"


def refusal(
    flags: dict[str, Any] | None = None, environ: dict[str, str] | None = None, file: Any = None
) -> str:
    with pytest.raises(MuxError) as refused:
        load_settings(flags or {}, environ or {}, file)
    assert refused.value.code == "invalid_config"
    assert KEY not in repr(refused.value.problem)
    assert refused.value.__context__ is None or KEY not in str(refused.value.__context__)
    return str(refused.value)


@pytest.fixture
def toml(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "mux.toml"
        path.write_text(text)
        return path

    return write


def test_the_defaults_listen_on_this_machine_only() -> None:
    settings = load_settings({}, {})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.engine, settings.backend) == (
        "127.0.0.1",
        8790,
        "espeak",
        "asyncio",
    )


def test_flags_win_over_variables_over_the_file(toml: Any) -> None:
    path = toml('port = 1\nworkers = 1\nengine = "tone"\n')
    settings = load_settings({"port": 3, "workers": None}, {"MUX_PORT": "2", "MUX_WORKERS": "2"}, path)
    assert (settings.port, settings.workers, settings.engine) == (3, 2, "tone")


def test_a_variable_may_name_the_file(toml: Any) -> None:
    path = toml("port = 1\n")
    assert load_settings({}, {"MUX_CONFIG": str(path)}).port == 1
    other = path.with_name("other.toml")
    other.write_text("port = 2\n")
    assert load_settings({}, {"MUX_CONFIG": str(path)}, other).port == 2


def test_variables_are_read_as_what_they_mean() -> None:
    settings = load_settings(
        {},
        {
            "MUX_PORT": "0",
            "MUX_STRICT_VOICES": "true",
            "MUX_DRAIN_TIMEOUT": "2.5",
            "MUX_API_KEYS": "one, two,,",
            "MUX_ALLOWED_ORIGINS": "https://a.example,http://localhost:3000",
            "MUX_ESPEAK_LIBRARY": "",
            "PATH": "/bin",
        },
    )
    assert settings.port == 0
    assert settings.strict_voices is True
    assert settings.drain_timeout == 2.5
    assert settings.api_keys == ("one", "two")
    assert settings.allowed_origins == ("https://a.example", "http://localhost:3000")
    assert settings.espeak_library is None


def test_the_file_uses_toml_types(toml: Any) -> None:
    settings = load_settings(
        {}, {}, toml('api_keys = ["one", "two"]\ndrain_timeout = 3\nstrict_voices = true\n')
    )
    assert settings.api_keys == ("one", "two")
    assert (settings.drain_timeout, settings.strict_voices) == (3.0, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "99999"),
        ("port", "-1"),
        ("port", "http"),
        ("workers", "0"),
        ("workers", "65"),
        ("workers", "1.5"),
        ("engine", "festival"),
        ("backend", "TRIO"),
        ("log_format", "xml"),
        ("log_level", "trace"),
        ("drain_timeout", "-1"),
        ("drain_timeout", "nan"),
        ("drain_timeout", "inf"),
        ("strict_voices", "maybe"),
        ("unflushed_close", "drop"),
        ("max_sockets", "0"),
        ("authentication_timeout", "0"),
        ("allowed_origins", "app.example.com"),
        ("allowed_origins", "https://app.example.com/path"),
        ("api_keys", f"{KEY} {KEY}"),
    ],
)
def test_a_wrong_value_is_refused_by_name_source_and_what_is_allowed(name: str, value: str) -> None:
    variable = f"MUX_{name.upper()}"
    flag = f"--{name.replace('_', '-')}"
    for message, source in (
        (refusal(environ={variable: value}), f"the variable {variable} gives"),
        (refusal({name: value}), f"the flag {flag} gives"),
    ):
        assert message.startswith(f"{name} must be ")
        assert source in message
        assert (repr(value) in message or value.split(",")[0] in message) == (name != "api_keys")


@pytest.mark.parametrize(
    "line", ["port = 99999", 'port = "80"', "workers = true", "drain_timeout = nan", 'strict_voices = "true"']
)
def test_a_wrong_value_in_the_file_is_refused_by_file_and_key(line: str, toml: Any) -> None:
    path = toml(line)
    name = line.split()[0]
    assert f"the key {name} in {path} gives" in refusal(file=path)


def test_keys_of_a_wrong_shape_are_not_shown(toml: Any) -> None:
    assert "not shown" in refusal(file=toml(f'api_keys = "{KEY}"'))
    assert "not shown" in refusal(file=toml(f'api_keys = ["{KEY} "]'))


def test_an_unknown_variable_is_refused_with_its_neighbours() -> None:
    message = refusal(environ={"MUX_APIKEYS": KEY})
    assert message.startswith("The variable MUX_APIKEYS is not a setting. Did you mean MUX_API_KEYS")
    assert "MUX_WORKERS" in message


def test_an_unknown_key_is_refused_with_its_neighbours(toml: Any) -> None:
    path = toml("prot = 1")
    message = refusal(file=path)
    assert message.startswith(f"The key prot in {path} is not a setting. Did you mean port")
    assert "workers" in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, toml: Any) -> None:
    missing = tmp_path / "missing.toml"
    assert f"{missing} cannot be read: No such file" in refusal(file=missing)
    assert "is not valid TOML" in refusal(file=toml(f"api_keys = [{KEY}"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "mux.example.com", "fe80::1"])
def test_other_machines_need_a_key(host: str) -> None:
    message = refusal({"host": host})
    assert host in message
    assert "MUX_API_KEYS" in message
    assert "127.0.0.1" in message
    assert load_settings({"host": host}, {"MUX_API_KEYS": KEY}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "::1", "localhost", "LOCALHOST"])
def test_this_machine_needs_none(host: str) -> None:
    assert is_loopback(host)
    assert load_settings({"host": host}, {}).host == host


def test_settings_never_show_their_keys() -> None:
    settings = Settings(api_keys=(KEY, KEY))
    console = Console(record=True, width=200, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(settings)
    console.file.close()
    for shown in (repr(settings), str(settings), f"{settings!r:.500}", console.export_text()):
        assert KEY not in shown
        assert "2 not shown" in shown
    assert "port=8790" in repr(settings)
