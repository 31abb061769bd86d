from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mux.errors import MuxError
from mux.server.listener import open_listener


@contextmanager
def accepted(listener: socket.socket) -> Iterator[socket.socket]:
    with listener, socket.create_connection(listener.getsockname()[:2]):
        listener.setblocking(True)
        connection, _ = listener.accept()
        with connection:
            yield connection


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="the platform has no TCP_NOTSENT_LOWAT")
def test_accepted_sockets_take_little_ahead_of_the_network() -> None:
    with accepted(open_listener("127.0.0.1", 0)) as connection:
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 64 * 1024


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the platform has no TCP_USER_TIMEOUT")
def test_accepted_sockets_give_up_on_a_peer_that_is_gone() -> None:
    with accepted(open_listener("127.0.0.1", 0, user_timeout=1.5)) as connection:
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1500


def test_accepted_sockets_do_not_wait_to_fill_a_packet() -> None:
    with accepted(open_listener("127.0.0.1", 0)) as connection:
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_listener_does_not_block() -> None:
    with open_listener("127.0.0.1", 0) as listener, pytest.raises(BlockingIOError):
        listener.accept()


def test_port_0_is_any_free_port() -> None:
    with open_listener("127.0.0.1", 0) as one, open_listener("127.0.0.1", 0) as other:
        assert one.getsockname()[1] != other.getsockname()[1] != 0


def test_localhost_is_reached_over_ipv4() -> None:
    with open_listener("localhost", 0) as listener:
        assert listener.family == socket.AF_INET


def test_a_port_can_be_taken_again_at_once() -> None:
    with accepted(open_listener("127.0.0.1", 0)) as connection:
        port = connection.getsockname()[1]
    open_listener("127.0.0.1", port).close()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="the machine has no IPv6")
def test_ipv6() -> None:
    with accepted(open_listener("::1", 0)) as connection:
        assert connection.family == socket.AF_INET6
    with open_listener("::", 0) as listener:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port)).close()


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    with open_listener("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(
            MuxError, match=f"Port {port} on 127.0.0.1 is already in use. Stop the program"
        ) as refused:
            open_listener("127.0.0.1", port)
    assert refused.value.code == "invalid_config"


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(MuxError, match=r"192\.0\.2\.1 is not an address of this machine"):
        open_listener("192.0.2.1", 0)


def test_a_host_that_does_not_resolve_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    with pytest.raises(MuxError, match=r"'nowhere\.invalid' cannot be resolved"):
        open_listener("nowhere.invalid", 0)
