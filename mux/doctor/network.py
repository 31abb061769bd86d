"""The way to a service, layer by layer: name, TCP, TLS."""

from __future__ import annotations

import errno
import socket
import ssl
from urllib.request import getproxies, proxy_bypass

import anyio
import anyio.abc
import sniffio
from anyio.streams.tls import TLSAttribute, TLSStream

from mux.doctor.findings import Finding, Tell, fine, found
from mux.doctor.patience import Patience
from mux.links.opening import Opening

__all__ = ["proxied", "reach", "speaks_tls"]

TOO_EARLY, TOO_LATE = 9, 10
WRONG_NAME = (62, 64)
"""Of OpenSSL's X509_V_ERR_*: not yet valid, expired, and a host name or address that does not match."""


def proxied(opening: Opening) -> bool:
    """Whether the settings of this environment send the socket through a proxy, as it is on asyncio."""
    if opening.loopback or sniffio.current_async_library() != "asyncio" or proxy_bypass(opening.host):
        return False
    proxies = getproxies()
    schemes = ("wss", "socks", "https") if opening.tls is not None else ("ws", "socks", "https", "http")
    return any(scheme in proxies for scheme in schemes)


async def reach(opening: Opening, patience: Patience, tell: Tell) -> anyio.abc.ByteStream | None:
    """Look the name up, connect, and agree on TLS; tells a finding for each. Returns the open connection, or
    None if there is none. Cancelling closes it."""
    addresses = await _look_up(opening, patience, tell)
    if not addresses:
        return None
    stream = await _connect(opening, addresses, patience, tell)
    if stream is None or opening.tls is None:
        return stream
    try:
        return await _agree_on_tls(opening, stream, patience, tell)
    except BaseException:
        await anyio.aclose_forcefully(stream)
        raise


async def _look_up(opening: Opening, patience: Patience, tell: Tell) -> list[str]:
    began = anyio.current_time()
    failure = f"no answer within {patience.lookup:g} s"
    addresses: list[str] = []
    with anyio.move_on_after(patience.lookup):
        try:
            rows = await anyio.getaddrinfo(opening.host, opening.port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(row[4][0]) for row in rows))
        except (OSError, UnicodeError) as error:
            failure = getattr(error, "strerror", None) or type(error).__name__
    if not addresses:
        tell(_timed(found("dns", "dns_failed", failure, host=opening.host), began))
        return []
    more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
    is_name = addresses[0] != opening.host
    sentence = f"{opening.host} is {addresses[0]}{more}" if is_name else f"{opening.host} needs no lookup"
    tell(_timed(fine("dns", sentence), began))
    return addresses


async def _connect(
    opening: Opening, addresses: list[str], patience: Patience, tell: Tell
) -> anyio.abc.ByteStream | None:
    """The first address that answers. Each is tried in turn, so that what is told is about one of them."""
    began = anyio.current_time()
    failures: list[tuple[str, str]] = []
    for address in addresses:
        with anyio.move_on_after(patience.lookup) as scope:
            try:
                stream = await anyio.connect_tcp(address, opening.port)
            except OSError as error:
                failures.append((address, _reason(error)))
                continue
        if scope.cancelled_caught:
            failures.append((address, f"no answer within {patience.lookup:g} s"))
            continue
        sentence = f"{address} port {opening.port} accepts connections"
        if any("refused" not in why for _, why in failures):  # a refusal costs no time
            evidence = [f"{where}: {why}" for where, why in failures]
            tell(
                _timed(
                    found("tcp", "address_dead", *evidence, verdict="warning", where=failures[0][0]), began
                )
            )
        else:
            tell(_timed(fine("tcp", sentence), began))
        return stream
    cause = "tcp_refused" if any("refused" in why.lower() for _, why in failures) else "tcp_blocked"
    evidence = [f"{where}: {why}" for where, why in failures]
    tell(_timed(found("tcp", cause, *evidence, where=opening.where), began))
    return None


async def _agree_on_tls(
    opening: Opening, stream: anyio.abc.ByteStream, patience: Patience, tell: Tell
) -> anyio.abc.ByteStream | None:
    began = anyio.current_time()
    failure: tuple[str, str] | None = ("tls_not_spoken", f"no answer within {patience.lookup:g} s")
    with anyio.move_on_after(patience.lookup):
        try:
            wrapped = await TLSStream.wrap(
                stream, hostname=opening.host, ssl_context=opening.tls, standard_compatible=False
            )
            failure = None
        except ssl.SSLCertVerificationError as error:
            failure = (_certificate(error), error.verify_message)
        except (ssl.SSLError, OSError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
            failure = ("tls_not_spoken", _reason(error))
    if failure is not None:
        tell(_timed(found("tls", failure[0], failure[1], where=opening.where), began))
        await anyio.aclose_forcefully(stream)
        return None
    version = wrapped.extra(TLSAttribute.tls_version)
    tell(_timed(fine("tls", f"{version}, and the certificate is for {opening.host} and trusted"), began))
    return wrapped


async def speaks_tls(opening: Opening, patience: Patience) -> bool:
    """Whether the port of a ws:// URL answers to TLS. Nothing is sent there that needs to be kept secret."""
    anybody = ssl.create_default_context()
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    with anyio.move_on_after(patience.lookup):
        try:
            stream = await anyio.connect_tcp(opening.host, opening.port, ssl_context=anybody)
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
            return False
        await anyio.aclose_forcefully(stream)
        return True
    return False


def _certificate(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in (TOO_EARLY, TOO_LATE):
        return "tls_expired"
    return "tls_name" if error.verify_code in WRONG_NAME else "tls_untrusted"


def _reason(error: BaseException) -> str:
    """What the system says: libraries wrap it."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, BaseExceptionGroup):
        return _reason(error.exceptions[0])
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ECONNREFUSED:
        return "connection refused"
    told = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return str(told) if told else type(error).__name__


def _timed(finding: Finding, began: float) -> Finding:
    return finding.took(anyio.current_time() - began)
