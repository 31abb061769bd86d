"""What is found where several contexts speak, nobody speaks, or the socket is left."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from servers import answering, at_mock, examined, left, only, proxy, serving

from mux.doctor.patience import Patience
from mux.mock import Fault, serve_mock

pytestmark = pytest.mark.anyio
STREAM = "/v1/text-to-speech/anne/stream-input"


@pytest.fixture(params=["elevenlabs", "kugelaudio"])
def dialect(request: pytest.FixtureRequest) -> Any:
    return request.param


# --- contexts -------------------------------------------------------------------------------------------


async def test_one_context_too_many() -> None:
    only_one = only(await at_mock("elevenlabs", contexts=6), "too_many_contexts")
    assert only_one.step == "contexts"
    assert "number 6" in only_one.sentence
    assert "ended all of it" in only_one.sentence
    kugelaudio = only(await at_mock("kugelaudio", contexts=21), "too_many_contexts")
    assert "ended" not in kugelaudio.sentence


async def test_a_slot_that_comes_back_late(dialect: Any) -> None:
    patience = Patience(late_end=0.2, settle=0.1)
    finding = only(
        await at_mock(dialect, Fault("slot_late", seconds=0.4, nth=1), patience=patience), "slot_late"
    )
    assert finding.verdict == "warning"


async def test_a_socket_that_is_lost_while_several_speak(dialect: Any) -> None:
    finding = only(
        await at_mock(dialect, Fault("close_1006", context="doctor-3"), contexts=4), "closed_midway"
    )
    assert finding.step == "contexts"


# --- silence --------------------------------------------------------------------------------------------


async def test_keepalive_and_timeout_at_work(dialect: Any) -> None:
    findings = await at_mock(dialect, quick=False)
    sentences = {finding.step: finding.sentence for finding in findings if finding.verdict == "ok"}
    assert 'empty text ""' in sentences["keepalive"]
    assert ("the socket" if dialect == "elevenlabs" else "the context") in sentences["timeout"]


async def test_keepalive_and_timeout_of_a_stream() -> None:
    async with serve_mock() as mock:
        findings = await examined(mock.url + STREAM, quick=False)
        assert not [finding for finding in findings if finding.cause]
        assert any('single space " "' in finding.sentence for finding in findings)


async def test_an_empty_text_as_the_keepalive_of_a_stream() -> None:
    async with serve_mock() as mock:
        finding = only(await examined(mock.url + STREAM, quick=False, keepalive=""), "empty_keepalive")
    assert finding.step == "keepalive"
    assert "single space" in str(finding.remedy)


async def test_a_keepalive_that_does_not_arrive() -> None:
    """The service ends a context after its timeout, whatever is said."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if b"inactivity_timeout" not in scope["query_string"]:
            await mock(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        with anyio.move_on_after(1.0):
            while (await receive())["type"] != "websocket.disconnect":
                pass
        reason = "Have not received a new text input within the timeout of 1.0 seconds."
        await send({"type": "websocket.close", "code": 1008, "reason": reason})

    async with serve_mock() as mock, serving(app) as port:
        finding = only(await examined(f"ws://127.0.0.1:{port}", quick=False), "keepalive_ignored")
    assert finding.step == "keepalive"


async def test_a_proxy_that_cuts_what_is_silent() -> None:
    patience = Patience(inactivity=2.0, overdue=1.0, settle=0.1)
    async with serve_mock() as mock, proxy(mock.url, idle=1.0) as url:
        finding = only(await examined(url, patience, quick=False), "idle_cut")
    assert finding.step == "timeout"


# --- the end --------------------------------------------------------------------------------------------


async def test_a_close_that_nobody_answers() -> None:
    # The third socket is the one that is opened to be closed.
    async with serve_mock() as mock, proxy(mock.url, mute=3) as url:
        finding = only(await examined(url), "close_unanswered")
        await left(mock)
    assert (finding.step, finding.verdict) == ("close", "warning")


async def test_the_whole_has_a_deadline() -> None:
    async with answering(b"", then=5.0) as port:
        findings = await examined(f"ws://127.0.0.1:{port}", Patience(whole=0.3))
    only(findings, "unfinished")


async def test_the_doctor_is_a_polite_guest() -> None:
    """It leaves no context open, and closes what it has opened."""
    async with serve_mock() as mock:
        await examined(mock.url, contexts=5)
        await left(mock)
        assert {context.ends for context in mock.history} == {1}
