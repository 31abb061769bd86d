"""What is checked before anybody is let in: origin, key, model, format, voice."""

from __future__ import annotations

from typing import Literal

import msgspec
from starlette.requests import HTTPConnection

from mux.audio.formats import AudioFormat, parse_format
from mux.dialects.elevenlabs import Parameters, check_model, parse_parameters
from mux.errors import MuxError
from mux.log import get_logger
from mux.server.auth import KeyRing, check_origin, key_in_headers
from mux.server.service import Service

__all__ = ["Admission", "Caller", "admit", "check_caller", "check_speaker", "whole_number"]

log = get_logger("mux.door")

Endpoint = Literal["socket", "http", "dialogue"]


class Admission(msgspec.Struct, frozen=True):
    """What an admitted caller asked for. `authenticated` is False if its first message must bring the key;
    `app` is whose key it was (see `KeyRing.app`)."""

    parameters: Parameters
    output: AudioFormat
    authenticated: bool
    app: str | None = None


class Caller(msgspec.Struct, frozen=True):
    """Who asks: whether a key has been seen, or none is needed, and whose it was."""

    authenticated: bool
    app: str | None = None


def admit(
    connection: HTTPConnection, service: Service, endpoint: Endpoint, *, streaming: bool = True
) -> Admission:
    """Check everything that a handshake or a request's head tells. `streaming` is False for an answer that is
    sent whole: only then its format may be one that begins with its own length.

    Raises:
        MuxError: the refusal.
    """
    service.admit()
    parameters = parse_parameters(connection.path_params.get("voice_id", ""), connection.query_params)
    caller = check_caller(connection, service, parameters.key, parameters.token, required=endpoint == "http")
    check_model(parameters.model, endpoint)
    output = parse_format(parameters.output_format, streaming=streaming)
    check_speaker(service, parameters.settings.voice, parameters.settings.language)
    if parameters.unknown:
        log.info("unknown_parameters_ignored", names=parameters.unknown)
    return Admission(parameters, output, caller.authenticated, caller.app)


def check_speaker(service: Service, voice: str | None, language: str | None) -> None:
    """Raises MuxError: `unknown_voice` or `unsupported_language`."""
    if reason := service.engine.check(voice, None):
        raise MuxError.of("unknown_voice", reason)
    if reason := service.engine.check(voice, language):
        raise MuxError.of("unsupported_language", reason, param="language_code")


def check_caller(
    connection: HTTPConnection,
    service: Service,
    key: str | None = None,
    token: str | None = None,
    *,
    required: bool = False,
) -> Caller:
    """Check the origin and the key.

    Args:
        key: what the query says; a header goes before it.
        token: a single-use token.
        required: refuse a caller without one, who has no later chance to bring it.

    Raises:
        MuxError: `origin_refused`, `invalid_api_key` or `authentication_required`.
    """
    headers = connection.headers
    check_origin(headers.get("origin"), headers.get("host"), service.settings.allowed_origins)
    if token is not None:
        app = service.tokens.app(token)
        if not service.tokens.redeem(token):
            raise MuxError.of("invalid_api_key", "This single-use token was used before, or is not known.")
        return Caller(True, app)
    key = key_in_headers(headers) or key
    if key is not None and (problem := service.keys.check(key)):
        raise MuxError(problem)
    if key is None and required and not service.keys.open:
        raise MuxError(KeyRing.missing())
    return Caller(key is not None or service.keys.open, None if key is None else service.keys.app(key))


def whole_number(given: str | None, name: str, default: int, allowed: range) -> int:
    """A number of a query.

    Raises:
        MuxError: `invalid_parameter`, naming the parameter and what is allowed.
    """
    if given is None:
        return default
    if given.isascii() and given.isdigit() and len(given) < 10 and int(given) in allowed:
        return int(given)
    raise MuxError.of(
        "invalid_parameter",
        f"{name} must be a number from {allowed[0]} to {allowed[-1]}, received {given[:40]!r}.",
        param=name,
    )
