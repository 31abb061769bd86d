"""The tables of the file, and the short form that needs none."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mux.config import (
    ElevenLabs,
    Espeak,
    KugelAudio,
    Mux,
    OpenAi,
    Piper,
    Settings,
    Sherpa,
    Speaker,
    Tone,
    load_settings,
)
from mux.errors import MuxError

KEY = "sk_very-secret-0123456789"
ENVIRON = {"ELEVENLABS_API_KEY": KEY, "PATH": "/bin"}

WHOLE = """
engine = "el"
strict_voices = true

[engines.el]
kind = "elevenlabs"
url = "wss://api.elevenlabs.io"
key_env = "ELEVENLABS_API_KEY"
model = "eleven_flash_v2_5"
voice = "21m00Tcm4TlvDq8ikWAM"
contexts = 5
sockets = 2
repair = "words"
patience = 2

[engines.kugel]
kind = "kugelaudio"
url = "wss://api.kugelaudio.com"
key_env = "MUX_KUGEL"
sample_rate = 16000

[engines.other]
kind = "mux"
url = "ws://10.0.0.7:8790"
key = "plain-secret"

[engines.kokoro]
kind = "openai"
url = "http://127.0.0.1:8880/v1"
model = "kokoro"
extra = { instructions = "Speak slowly." }

[engines.amy]
kind = "piper"
models = ["voices/en_US-amy-medium.onnx"]
threads = 2

[engines.sherpa]
kind = "sherpa"
models = ["models"]
workers = 1

[engines.espeak]
kind = "espeak"
workers = 4

[[voices]]
id = "anna"
name = "Anna"
language = "en-US"
speak = [{ engine = "el", voice = "21m00Tcm4TlvDq8ikWAM" }, { engine = "espeak", voice = "en-us-f2" }]

[[voices]]
id = "kugel-*"
speak = [{ engine = "kugel", voice = "*" }, { engine = "tone" }]

[[apps]]
name = "phone"
key = "phone-secret"
weight = 2

[[apps]]
key_env = "MUX_WEB_KEY"
"""


def load(text: str, tmp_path: Path, **environ: str) -> Settings:
    path = tmp_path / "mux.toml"
    path.write_text(text)
    return load_settings({}, {**ENVIRON, **environ}, path)


def refusal(text: str, tmp_path: Path, **environ: str) -> str:
    with pytest.raises(MuxError) as refused:
        load(text, tmp_path, **environ)
    assert refused.value.code == "invalid_config"
    assert "secret" not in repr(refused.value.problem)
    assert refused.value.__context__ is None or "secret" not in str(refused.value.__context__)
    return str(refused.value)


def engine(kind: str, more: str = "") -> str:
    return f'engine = "x"\n[engines.x]\nkind = "{kind}"\n{more}\n'


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    settings = load(WHOLE, tmp_path, MUX_WEB_KEY="web-secret", MUX_KUGEL="kugel-secret")
    assert {name: type(table) for name, table in settings.known_engines.items()} == {
        "espeak": Espeak,
        "tone": Tone,
        "el": ElevenLabs,
        "kugel": KugelAudio,
        "other": Mux,
        "kokoro": OpenAi,
        "amy": Piper,
        "sherpa": Sherpa,
    }
    el, kokoro, espeak = (settings.known_engines[name] for name in ("el", "kokoro", "espeak"))
    assert isinstance(el, ElevenLabs)
    assert (el.key, el.contexts, el.sockets, el.patience, el.sample_rate) == (KEY, 5, 2, 2.0, 24000)
    assert isinstance(kokoro, OpenAi)
    assert (kokoro.key, kokoro.extra) == (None, {"instructions": "Speak slowly."})
    assert isinstance(espeak, Espeak)
    assert espeak.workers == 4
    anna, kugel = settings.voices
    assert anna.speak == (
        Speaker(engine="el", voice="21m00Tcm4TlvDq8ikWAM"),
        Speaker(engine="espeak", voice="en-us-f2"),
    )
    assert (anna.name, anna.language, kugel.id) == ("Anna", "en-US", "kugel-*")
    assert [(app.name, app.key, app.weight) for app in settings.apps] == [
        ("phone", "phone-secret", 2.0),
        ("app-2", "web-secret", 1.0),
    ]


def test_no_secret_is_ever_shown(tmp_path: Path) -> None:
    settings = load(
        WHOLE, tmp_path, MUX_WEB_KEY="web-secret", MUX_KUGEL="kugel-secret", MUX_API_KEYS="api-secret"
    )
    for shown in (settings, *settings.engines.values(), *settings.apps, {"a": settings}):
        assert "secret" not in f"{shown!r} {shown}"
    assert "model='kokoro'" in repr(settings)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (engine("piano"), ("kind must be one of espeak", "elevenlabs", "'piano'", "[engines.x] in")),
        ('[engines.x]\nurl = "ws://a"', ("kind must be one of", "it has none")),
        (engine("mux"), ("[engines.x] in", "needs url", "wss://")),
        (engine("mux", "url = 5"), ("url must be a URL", "not shown")),
        (engine("mux", 'url = "ftp://a"'), ("url must be a URL",)),
        (engine("mux", f'url = "wss://user:{KEY}@host/"'), ("holds no user or password",)),
        (engine("mux", 'url = "ws://a"\nprot = 1'), ("key prot of [engines.x]", "Allowed:", "key_env")),
        (engine("mux", 'url = "ws://a"\ncontext = 1'), ("Did you mean contexts",)),
        (engine("mux", 'url = "ws://a"\ncontexts = 0'), ("contexts must be a whole number", "gives 0")),
        (engine("mux", 'url = "ws://a"\ncontexts = "5"'), ("contexts must be a whole number", "gives '5'")),
        (engine("mux", 'url = "ws://a"\nsample_rate = 24001'), ("sample_rate must be 8000", "24001")),
        (engine("mux", 'url = "ws://a"\nrepair = "maybe"'), ("repair must be exact, words or fail",)),
        (engine("mux", f'url = "ws://a"\nkey = "{KEY} "'), ("key must be", "not shown")),
        (engine("mux", f'url = "ws://a"\nkey_env = "{KEY}"'), ("key_env of [engines.x]", "capital")),
        (engine("mux", 'url = "ws://a"\nkey_env = "sk_secret"'), ("key_env of [engines.x]", "capital")),
        (engine("mux", 'url = "ws://a"\nkey_env = "MUX_NONE"'), ("variable MUX_NONE", "is not set")),
        (engine("mux", 'url = "ws://a"\nkey = "a-secret"\nkey_env = "A"'), ("both key and key_env",)),
        (engine("openai", 'url = "http://a"\ncontexts = 5'), ("key contexts of [engines.x]",)),
        (engine("piper"), ("needs models", "at least one path")),
        (engine("piper", "models = []"), ("models must be a list of at least one path",)),
        (engine("espeak", 'voice = "x"'), ("key voice of [engines.x]", "library")),
        ('[engines."a b"]\nkind = "tone"', ("'a b'", "name of an engine")),
        ("engines = 5", ("[engines.NAME]",)),
        ("[engines]\nx = 5", ("[engines.x] in", "must be a table")),
        ("voices = 5", ("[[voices]]",)),
        ('[voices]\nid = "x"', ("[[voices]]",)),
        ('[[voices]]\nid = "x"', ("[[voices]] number 1", "needs speak")),
        ('[[voices]]\nspeak = [{engine = "tone"}]', ("[[voices]] number 1", "needs id")),
        (
            '[[voices]]\nid = "*-*"\nspeak = [{engine = "tone"}]',
            ("id must be a voice id with at most one *",),
        ),
        (
            '[[voices]]\nid = "x"\nspeak = [{voice = "tone"}]',
            ("speak of [[voices]] number 1", "needs engine"),
        ),
        ('[[voices]]\nid = "x"\nspeak = ["tone"]', ("must be a table",)),
        ('[[voices]]\nid = "x"\nspeak = [{engine = "el"}]', ("names the engine 'el'", "espeak, tone")),
        ('[[voices]]\nid = "x"\nspeak = [{engine = "tone"}]\n' * 2, ("Two voices have the id 'x'",)),
        ('[[voices]]\nid = "x"\nlanguage = "English"\nspeak = [{engine = "tone"}]', ("language must be",)),
        ("apps = 5", ("[[apps]]",)),
        ("[[apps]]\nweight = 2", ("[[apps]] number 1", "needs key or key_env")),
        ('[[apps]]\nkey = "a"\nweight = 0', ("weight must be a number from 0.01",)),
        ('[[apps]]\nkey = "a"\nname = "x"\n[[apps]]\nkey = "b"\nname = "x"', ("Two apps have the name 'x'",)),
        ('[[apps]]\nkey = "a-secret"\n[[apps]]\nkey = "a-secret"', ("A key is given twice",)),
        ('api_keys = ["a-secret"]\n[[apps]]\nkey = "a-secret"', ("A key is given twice",)),
        ('engine = "el"', ("engine must be espeak, tone", "'el'", "[engines.NAME]")),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(
    text: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    message = refusal(text, tmp_path)
    assert all(word in message for word in words), message


def test_a_variable_that_a_table_names_is_not_taken_for_a_setting(tmp_path: Path) -> None:
    text = engine("mux", 'url = "ws://a"\nkey_env = "MUX_SECRET_KEY"')
    table = load(text, tmp_path, MUX_SECRET_KEY=f" {KEY} ").engines["x"]
    assert isinstance(table, Mux)
    assert table.key == KEY
    assert "MUX_OTHER is not a setting" in refusal(text, tmp_path, MUX_SECRET_KEY=KEY, MUX_OTHER="1")


def test_an_apps_key_lets_other_machines_in(tmp_path: Path) -> None:
    assert load('host = "0.0.0.0"\n[[apps]]\nkey = "a"', tmp_path).host == "0.0.0.0"


# --- the short form ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["elevenlabs", "kugelaudio", "mux", "openai"])
def test_the_short_form_is_one_engine_of_that_kind(kind: str) -> None:
    flags: dict[str, Any] = {
        "engine": kind,
        "upstream_url": "https://host.example/v1",
        "upstream_model": "m",
        "upstream_voice": "v",
        "upstream_sockets": "3",
    }
    if kind != "openai":
        flags["upstream_contexts"] = "7"
    settings = load_settings(flags, {"MUX_UPSTREAM_KEY": KEY})
    table = settings.known_engines[kind]
    assert isinstance(table, (ElevenLabs, KugelAudio, Mux, OpenAi))
    assert (table.kind, table.url, table.key) == (kind, "https://host.example/v1", KEY)
    assert (table.model, table.voice, table.sockets) == ("m", "v", 3)
    assert isinstance(table, OpenAi) or table.contexts == 7
    assert KEY not in repr(settings)


def test_flags_win_over_variables_in_the_short_form_too() -> None:
    settings = load_settings(
        {"engine": "mux", "upstream_url": "ws://b"}, {"MUX_ENGINE": "tone", "MUX_UPSTREAM_URL": "ws://a"}
    )
    table = settings.known_engines["mux"]
    assert isinstance(table, Mux)
    assert table.url == "ws://b"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"engine": "elevenlabs"}, ("engine elevenlabs needs upstream_url", "MUX_UPSTREAM_URL")),
        ({"engine": "mux", "upstream_key": KEY}, ("engine mux needs upstream_url",)),
        ({"upstream_url": "ws://a"}, ("upstream_url is set", "engine is espeak")),
        ({"upstream_sockets": "2"}, ("upstream_sockets is set",)),
        (
            {"engine": "openai", "upstream_url": "http://a", "upstream_contexts": "2"},
            ("engine openai has no contexts", "upstream_contexts"),
        ),
        ({"engine": "mux", "upstream_url": "a"}, ("upstream_url must be a URL", "not shown")),
        ({"engine": "mux", "upstream_url": "ws://a", "upstream_key": f"{KEY} x"}, ("not shown",)),
        ({"engine": "mux", "upstream_url": "ws://a", "upstream_contexts": "0"}, ("upstream_contexts must",)),
        ({"engine": "piper"}, ("engine must be", "--engine gives 'piper'", "[engines.NAME]")),
    ],
)
def test_what_does_not_fit_together_is_refused(flags: dict[str, str], words: tuple[str, ...]) -> None:
    with pytest.raises(MuxError) as refused:
        load_settings(flags, {})
    message = str(refused.value)
    assert all(word in message for word in words), message
    assert KEY not in message


def test_a_table_of_that_name_leaves_no_room_for_the_short_form(tmp_path: Path) -> None:
    text = '[engines.mux]\nkind = "mux"\nurl = "ws://a"\n'
    assert load(f'engine = "mux"\n{text}', tmp_path).engine == "mux"
    message = refusal(f'engine = "mux"\nupstream_url = "ws://b"\n{text}', tmp_path)
    assert "put it into a table [engines.mux]" in message


# --- the page about it ------------------------------------------------------------------------------

PAGE = (Path(__file__).parent.parent / "docs" / "how-to" / "gateway.md").read_text()


@pytest.mark.parametrize("number", range(PAGE.count("```toml")))
def test_the_files_of_the_page_are_understood(number: int, tmp_path: Path) -> None:
    text = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[number]
    keys = {name: f"secret-{name}" for name in re.findall(r'key_env = "(\w+)"', text)}
    settings = load(text, tmp_path, **keys)
    assert set(settings.engines) == set(tomllib.loads(text).get("engines", {}))
    assert "secret" not in repr(settings)


def test_the_page_names_every_key_and_its_default() -> None:
    rows = {
        name: row
        for row in re.findall(r"^\| `.*$", PAGE, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    for table in (ElevenLabs, OpenAi):
        for field in msgspec.structs.fields(table):
            default = rows[field.name].split("|")[3]
            if isinstance(field.default, (int, float)):
                assert f"{field.default:g}" in default, field.name
