"""Certificates: those given by file, and one that is made for this run.

TLS itself is the standard library's `ssl`. Only making a certificate needs a package, `cryptography`, which
comes with `ttsmux[tls]`.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, NoReturn

from mux.config import Settings
from mux.errors import MuxError

__all__ = ["Tls", "load_certificate", "make_certificate", "open_tls", "reason"]

LIFETIME = timedelta(days=365)
"""How long a certificate of ours is good for: longer than a run, whose end is its end anyhow."""
CLOCK_SKEW = timedelta(hours=1)
"""How far the clock of a client (a container, a virtual machine) may be behind."""

MISMATCH = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"})
TOO_WEAK = frozenset({"EE_KEY_TOO_SMALL", "CA_KEY_TOO_SMALL", "CA_MD_TOO_WEAK"})
"""OpenSSL's names for a certificate that clients of today would refuse."""


class Tls(NamedTuple):
    context: ssl.SSLContext
    trust: Path | None
    """The file that a client must trust; None where an authority vouches for the certificate."""


@contextmanager
def open_tls(settings: Settings) -> Iterator[Tls | None]:
    """What `settings` say about TLS; None for a server without. A self-signed certificate's file is there
    for the length of the block.

    Raises:
        MuxError: `invalid_config`, naming the file and what is wrong with it; `missing_dependency` if
            a certificate shall be made and `cryptography` is not there.
    """
    if settings.tls_self_signed:
        with _self_signed(settings.host) as tls:
            yield tls
    elif settings.tls_cert is not None and settings.tls_key is not None:
        yield Tls(load_certificate(Path(settings.tls_cert), Path(settings.tls_key)), None)
    else:
        yield None


def load_certificate(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server's context for TLS 1.2 and 1.3, from a certificate (its intermediates after it) and its private
    key, both PEM.

    Raises:
        MuxError: `invalid_config`, naming the file and what is wrong with it.
    """
    text = _read("tls_cert", certificate)
    # Not `create_default_context`: it writes session keys to the file that SSLKEYLOGFILE names.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client could ask for it without end
    context.set_alpn_protocols(["http/1.1"])
    if "CERTIFICATE-----" not in text:
        _refuse(
            f"tls_cert: {certificate} holds no PEM certificate."
            " It must begin with -----BEGIN CERTIFICATE-----."
        )
    try:
        # Only to judge it alone: `load_cert_chain` does not say which of its files it means.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except ssl.SSLError as error:
        _refuse(f"tls_cert: {certificate} holds no certificate that can be read ({reason(error)}).")
    if "PRIVATE KEY-----" not in _read("tls_key", key):
        _refuse(
            f"tls_key: {key} holds no PEM private key."
            " It must begin with -----BEGIN PRIVATE KEY----- (or EC, or RSA)."
        )

    def password() -> NoReturn:
        # Without this, OpenSSL would ask for it on the terminal.
        _refuse(
            f"tls_key: {key} is protected by a password, which mux does not support. Store the key without"
            " one, readable by mux alone: openssl pkey -in FILE -out PLAIN_FILE."
        )

    try:
        context.load_cert_chain(certificate, key, password)
    except ssl.SSLError as error:
        if error.reason in MISMATCH:
            _refuse(
                f"The key in {key} (tls_key) does not belong to the first certificate in {certificate}"
                " (tls_cert). Put the server's own certificate first, or name its key."
            )
        if error.reason in TOO_WEAK:
            _refuse(
                f"tls_cert: the certificate in {certificate} is too weak ({reason(error)})."
                " Use a key of EC P-256 or RSA 2048 bits or more, and SHA-256."
            )
        _refuse(f"tls_key: {key} holds no private key that can be read ({reason(error)}).")
    return context


def make_certificate(host: str) -> tuple[bytes, bytes]:
    """A certificate for this machine and `host` (a name or an IP address), and its key, both PEM.

    It signs itself and nothing else: who trusts its file trusts its one server, and no authority.

    Raises:
        MuxError: `missing_dependency` without `cryptography`; `invalid_config` for a host that a
            certificate cannot name.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise MuxError.of(
            "missing_dependency",
            "tls_self_signed needs the Python package cryptography. Install it with pip install"
            " 'ttsmux[tls]', or give a certificate of your own: tls_cert and tls_key.",
        ) from None

    names: list[x509.GeneralName] = []
    for one in dict.fromkeys(("localhost", "127.0.0.1", "::1", host)):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(one.partition("%")[0])))
        except ValueError:
            try:
                names.append(x509.DNSName(one.encode("idna").decode()))
            except UnicodeError:
                _refuse(f"No certificate can be made for the host {one!r}. Set host to an IP address.")
    key = ec.generate_private_key(ec.SECP256R1())
    myself = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mux, self-signed")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject_name=myself, issuer_name=myself, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        # No key usage: without "signs certificates" OpenSSL 1.1.1 does not count it as self-signed, and
        # with it, OpenSSL's strict mode wants an authority.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def reason(error: OSError) -> str:
    """Why TLS failed, in a few words of OpenSSL's or the system's; nothing that the peer wrote."""
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or type(error).__name__


@contextmanager
def _self_signed(host: str) -> Iterator[Tls]:
    certificate, key = make_certificate(host)
    with TemporaryDirectory(prefix="mux-tls-") as directory:  # readable by this user alone
        trust, secret = Path(directory, "certificate.pem"), Path(directory, "key.pem")
        trust.write_bytes(certificate)
        secret.write_bytes(key)
        context = load_certificate(trust, secret)
        secret.unlink()  # `ssl` reads keys from files only
        yield Tls(context, trust)


def _read(setting: str, path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="ignore")
    except OSError as error:
        _refuse(f"{setting}: {path} cannot be read: {error.strerror}. Correct the path.")


def _refuse(message: str) -> NoReturn:
    raise MuxError.of("invalid_config", message) from None
