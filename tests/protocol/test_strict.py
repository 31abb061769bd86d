"""The strict profile: as harsh as ElevenLabs."""

from __future__ import annotations

from mux.protocol.limits import STRICT
from mux.protocol.messages import (
    Close,
    ContextClosed,
    Flush,
    Open,
    SegmentEnded,
    SessionClosed,
    Speak,
    Spoken,
    Text,
)
from mux.protocol.session import Session
from mux.protocol.voice import ContextSettings


def strict() -> Session:
    return Session(ContextSettings(inactivity_timeout=20.0), limits=STRICT)


def end(session: Session, now: float = 0.0) -> tuple[int, str] | None:
    """The close code and the cause, if the socket is closed. No engine answers a stop here."""
    for later in (now, now + STRICT.stop_seconds):
        session.tick(later)
        while event := session.next_event(later):
            if isinstance(event, SessionClosed):
                assert event.problem is not None
                return event.code, event.problem.code
    return None


def test_the_sixth_context_closes_the_socket() -> None:
    session = strict()
    for number in range(5):
        session.receive(Open(f"c{number}"), 0)
    assert end(session) is None
    session.receive(Open("c5"), 0)
    assert end(session) == (1008, "too_many_contexts")


def test_a_closed_context_keeps_its_slot_until_it_has_ended() -> None:
    session = strict()
    for number in range(5):
        session.receive(Text(f"c{number}", "Hello there. "), 0)
        session.receive(Flush(f"c{number}"), 0)
        session.receive(Close(f"c{number}"), 0)
    speaks = [effect for effect in session.take_effects() if isinstance(effect, Speak)]
    session.report(Spoken(speaks[0].serial, 1, bytes(200), 1000), 0)
    session.report(SegmentEnded(speaks[0].serial, 1), 0)
    while not isinstance(session.next_event(0), ContextClosed):
        pass
    session.receive(Open("c5"), 0)
    assert end(session) is None
    session.receive(Open("c6"), 0)
    assert end(session) == (1008, "too_many_contexts")


def test_a_flush_of_an_unknown_id_takes_a_slot() -> None:
    session = strict()
    session.receive(Flush("phantom"), 0)
    assert session.open_contexts == 1


def test_changed_settings_close_the_socket() -> None:
    session = strict()
    session.receive(Text("a", "Hello. "), 0)
    session.receive(Flush("a"), 0)
    session.receive(Open("a", ContextSettings(voice_settings={"speed": 1.1})), 0)
    assert end(session) == (1008, "settings_changed")


def test_text_that_was_not_flushed_is_dropped_at_the_close() -> None:
    session = strict()
    session.receive(Text("a", "Hello. "), 0)
    session.receive(Close("a"), 0)
    assert not session.take_effects()
    assert isinstance(list(iter(lambda: session.next_event(0), None))[-1], ContextClosed)


def test_an_idle_context_closes_the_socket_and_so_does_an_idle_socket() -> None:
    session = strict()
    session.receive(Open("a"), 0)
    assert session.next_deadline() == 20
    session.tick(20)
    assert end(session, 20) == (1008, "input_timeout")
    session = strict()
    session.receive(Close("nobody"), 5)
    assert session.next_deadline() == 25
    session.tick(25)
    assert end(session, 25) == (1008, "input_timeout")
