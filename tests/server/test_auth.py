from __future__ import annotations

import pytest

from mux.errors import MuxError
from mux.server.auth import KeyRing, check_origin, key_in_headers


def test_without_keys_everybody_may_come_in() -> None:
    ring = KeyRing([])
    assert ring.open
    assert ring.check("anything") is None


@pytest.mark.parametrize("key", ["sesame", " sesame ", "Bearer sesame", "bearer sesame", "BEARER  sesame "])
def test_a_known_key_opens(key: str) -> None:
    ring = KeyRing(["other", "sesame"])
    assert not ring.open
    assert ring.check(key) is None


@pytest.mark.parametrize(
    "key",
    ["", "Sesame", "sesam", "sesame1", "Bearer", "Bearer other1", "Basic sesame", "\ud800", "a" * 10**6],
)
def test_any_other_key_does_not(key: str) -> None:
    problem = KeyRing(["other", "sesame"]).check(key)
    assert problem is not None
    assert problem.code == "invalid_api_key"
    assert "sesame" not in problem.message


def test_a_key_that_contains_a_space_or_begins_like_a_scheme_is_still_a_key() -> None:
    ring = KeyRing(["Bearerish", "two words"])
    assert ring.check("Bearerish") is None
    assert ring.check("two words") is None


def test_an_apps_key_opens_and_tells_whose_it_is() -> None:
    ring = KeyRing(["sesame"], {"open": "phone", "wide": "web"})
    assert [ring.check(key) for key in ("sesame", "open", "Bearer wide")] == [None, None, None]
    assert [ring.app(key) for key in ("sesame", "open", "Bearer wide", "x")] == [None, "phone", "web", None]
    assert not KeyRing([], {"open": "phone"}).open
    assert "wide" not in repr(vars(ring))


def test_a_dump_of_the_ring_shows_no_key() -> None:
    assert "sesame" not in repr(vars(KeyRing(["sesame"])))


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, None),
        ({"xi-api-key": ""}, None),
        ({"xi-api-key": "a", "authorization": "b"}, "a"),
        ({"x-api-key": "a"}, "a"),
        ({"authorization": "Bearer b"}, "Bearer b"),
    ],
)
def test_headers(headers: dict[str, str], key: str | None) -> None:
    assert key_in_headers(headers) == key


ALLOWED = ("https://app.example.com",)


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "127.0.0.1:8790", ()),
        ("https://app.example.com", "tts.example.com", ALLOWED),
        ("https://anything", "tts.example.com", ("*",)),
        ("http://127.0.0.1:8790", "127.0.0.1:8790", ()),
        ("http://localhost:8790", "localhost:8790", ()),
        ("http://[::1]:8790", "[::1]:8790", ()),
        ("http://192.168.1.5:8790", "192.168.1.5:8790", ()),
    ],
)
def test_who_is_welcome(origin: str | None, host: str, allowed: tuple[str, ...]) -> None:
    check_origin(origin, host, allowed)


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("https://evil.example", "127.0.0.1:8790", ()),
        ("https://evil.example", "127.0.0.1:8790", ALLOWED),
        ("http://app.example.com", "127.0.0.1:8790", ALLOWED),
        ("https://app.example.com:444", "127.0.0.1:8790", ALLOWED),
        ("http://127.0.0.1:3000", "127.0.0.1:8790", ()),
        ("null", "127.0.0.1:8790", ()),
        ("", "", ()),
        ("http://evil.example", None, ()),
        ("http://[::1", "[::1", ()),
        # DNS rebinding: the page's own name now points to this machine, so its Host header says the same.
        ("http://evil.example:8790", "evil.example:8790", ()),
        ("http://localhost.evil.example:8790", "localhost.evil.example:8790", ()),
    ],
)
def test_who_is_not(origin: str, host: str | None, allowed: tuple[str, ...]) -> None:
    with pytest.raises(MuxError, match="allowed_origins") as caught:
        check_origin(origin, host, allowed)
    assert caught.value.code == "origin_refused"
