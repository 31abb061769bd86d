"""Everything that the doctor can name: the one table of causes, for live sockets and for recordings."""

from __future__ import annotations

import msgspec

__all__ = ["CAUSES", "Cause"]


class Cause(msgspec.Struct, frozen=True):
    """`sentence` says what is wrong, `remedy` what to do about it. Both may have `{fields}`, which whoever
    finds the cause fills in (`mux.doctor.findings.found`)."""

    sentence: str
    remedy: str


CAUSES: dict[str, Cause] = {
    # the URL, and what is in it
    "scheme": Cause(
        "The URL begins with {scheme}://, but a WebSocket's begins with ws:// or wss://.",
        "Write {instead}:// in the app; most WebSocket libraries refuse anything else.",
    ),
    "unknown_path": Cause(
        "The path {path} is none of a text-to-speech socket.",
        "Use /v1/text-to-speech/VOICE/multi-stream-input or /stream-input (ElevenLabs), or /ws/tts/multi, "
        "/ws/tts/stream or /ws/tts (KugelAudio).",
    ),
    "timeout_over_max": Cause(
        "The inactivity_timeout is {seconds}, and the most that is allowed is {limit} seconds.",
        "Ask for at most {limit}, and send a keepalive well within that time. A larger value may be "
        "ignored, so that the default of 20 seconds ends the context, or end the socket right after it was "
        "opened.",
    ),
    "model_not_here": Cause(
        "The model{model} is not served on this endpoint: v3 models speak on the text-to-dialogue sockets "
        "only.",
        "Use eleven_flash_v2_5, eleven_turbo_v2_5 or eleven_multilingual_v2 here, or move to "
        "/v1/text-to-dialogue/multi-stream-input, whose messages are different.",
    ),
    "model_not_found": Cause(
        "The service does not know the model{model}.",
        "Check its spelling against GET /v1/models with the same key.",
    ),
    "format_unknown": Cause(
        "The service has no output format {format!r}.",
        "Ask for one of {allowed}.",
    ),
    "format_refused": Cause(
        "The output format is not allowed for this account.",
        "Ask for a smaller one (pcm_24000, mp3_44100_128), or for a higher plan: pcm_44100 and "
        "mp3_44100_192 are not in all of them.",
    ),
    # the way there
    "dns_failed": Cause(
        "The name {host} cannot be found.",
        "Check its spelling in the URL, and the DNS of the machine or container on which the app runs.",
    ),
    "tcp_refused": Cause(
        "Nothing accepts connections at {where}.",
        "Check that the server is running and listens on this address and port, not only on 127.0.0.1 of "
        "another container.",
    ),
    "tcp_blocked": Cause(
        "No answer to a connection to {where}.",
        "Check firewalls and security groups for outgoing TCP on this port, and whether this network needs "
        "a proxy.",
    ),
    "address_dead": Cause(
        "The address {where} of the name does not answer, another one does.",
        "The app may lose seconds at each connection: mostly IPv6 is announced where it does not work. Let "
        "the app use IPv4, or repair the route.",
    ),
    "tls_expired": Cause(
        "The certificate of {where} has expired or is not valid yet.",
        "Check this machine's clock; if it is right, the certificate of the server or of a proxy on the way "
        "must be renewed.",
    ),
    "tls_name": Cause(
        "The certificate of {where} is for another name.",
        "Use the name that stands in the certificate; if it is a company's or a proxy's, that is what "
        "intercepts the connection.",
    ),
    "tls_untrusted": Cause(
        "The certificate of {where} was issued by nobody whom this machine trusts.",
        "Install the certificates of the system (in slim containers: the package ca-certificates); a "
        "private authority or an intercepting proxy needs its root certificate in the app (SSL_CERT_FILE).",
    ),
    "tls_not_spoken": Cause(
        "{where} does not speak TLS.",
        "Use ws:// for a server without TLS, or the port on which it has TLS.",
    ),
    "tls_needed": Cause(
        "{where} speaks TLS, but the URL begins with ws://.",
        "Use wss://.",
    ),
    "proxy_failed": Cause(
        "The proxy that this environment names could not be reached or used.",
        "Check https_proxy, http_proxy and no_proxy where the app runs: libraries use them without saying "
        "so.",
    ),
    # the handshake
    "upgrade_stripped": Cause(
        "The WebSocket handshake was answered with plain HTTP ({status}): the upgrade did not reach a "
        "WebSocket server.",
        "Something between the app and the service drops the Upgrade header. In nginx: proxy_http_version "
        '1.1 and proxy_set_header Upgrade $http_upgrade and Connection "upgrade"; elsewhere switch '
        "WebSockets on, or go around the proxy.",
    ),
    "redirected": Cause(
        "The handshake was redirected to {location}.",
        "Put that address into the app: WebSocket libraries do not follow redirects, or lose the key on the "
        "way.",
    ),
    "handshake_cut": Cause(
        "The connection was cut instead of an answer to the handshake.",
        "A firewall or proxy on the way cuts WebSockets, or the service is overloaded: try from another "
        "network, then with wss:// instead of ws://.",
    ),
    "handshake_slow": Cause(
        "The handshake took {seconds:.1f} s.",
        "Open the socket before it is needed and keep it for many turns; give the app's open timeout room.",
    ),
    "handshake_silent": Cause(
        "The connection was accepted, but the handshake not answered within {seconds:g} s.",
        "Check that this port speaks WebSocket; a proxy may be waiting for a service that is gone.",
    ),
    "handshake_broken": Cause(
        "The answer to the handshake is none that a WebSocket client may accept: {detail}.",
        "A cache or proxy answers in the place of the service: take it out of the way, or go around it.",
    ),
    "not_http": Cause(
        "{where} answered the handshake with something that is not HTTP.",
        "Check the port: another service listens there.",
    ),
    "path_not_found": Cause(
        "The service has nothing at the path {path} (HTTP 404).",
        "Check the path: a base URL that already ends in /v1 gets it twice, and a proxy may drop or add a "
        "prefix.",
    ),
    "query_stripped": Cause(
        "The parameters of the URL did not reach the service: {detail}.",
        "A proxy or a URL builder drops what follows the question mark; in nginx write proxy_pass without a "
        "path, or append $is_args$args to it.",
    ),
    "rejected": Cause(
        "The service refused the handshake with HTTP {status}.",
        "Read what it said; what is wrong is in the URL's parameters or in the account.",
    ),
    # the key
    "key_missing": Cause(
        "No API key reached the service.",
        "Send it as the header {header} of the handshake; check that the environment variable is set where "
        "the app runs, and that no proxy drops the header.",
    ),
    "key_unusable": Cause(
        "The API key is empty or holds a character that no header can carry.",
        "A key that was read from a file often ends with a line break: strip it. Quotation marks do not "
        "belong to it.",
    ),
    "key_refused": Cause(
        "The service does not accept the API key.",
        "Check that it is this service's key, whole and not revoked; a restricted key needs the permission "
        "for text to speech.",
    ),
    "region": Cause(
        "The API key was refused by {host}, and this service has hosts in several regions whose keys are "
        "not valid at each other's.",
        "Try the host of the region in which the key was made: {siblings}.",
    ),
    "forbidden": Cause(
        "The key was recognised, but the account or plan may not do this.",
        "Check the plan, the key's permissions, and whether the voice or model is part of it.",
    ),
    "quota_exceeded": Cause(
        "The account has no credits left for this request.",
        "Top it up, or raise the limit of the key. Some requests then end without audio and without an "
        "error.",
    ),
    "rate_limited": Cause(
        "The service refuses more connections or requests at the moment (too many at once).",
        "Wait as long as Retry-After says, then retry with growing pauses; share few sockets between all "
        "calls instead of one for each.",
    ),
    # voice
    "voice_missing": Cause(
        "No voice was named.",
        "Name one: in the path on ElevenLabs, in voice_settings.voice_id of a context's first message on "
        "KugelAudio.",
    ),
    "voice_unknown": Cause(
        "The service does not know the voice{voice} for this key.",
        "Check the id against GET /v1/voices with the same key; a voice of the library must be added to the "
        "account first.",
    ),
    # what is said, and what comes back
    "no_audio": Cause(
        "Nothing was heard within {seconds:g} s of the text.",
        "Flush after the text; give the app's reader a deadline, and retry on another socket.",
    ),
    "silent_success": Cause(
        "The text was taken and the context ended well, but without any audio.",
        "Check the credits of the account first: an exhausted quota looks like this. In the app, treat an "
        "end without audio as a failure.",
    ),
    "close_overtakes": Cause(
        "Text that is followed at once by close_context is lost: the turn is silent.",
        "Send close_context only after the first audio of the last text has come.",
    ),
    "slow_start": Cause(
        "The first audio came {seconds:.1f} s after the text.",
        "Flush, use auto_mode with whole sentences or a smaller chunk_length_schedule, and a flash model; "
        "some frameworks give up after 3 s.",
    ),
    "audio_stalled": Cause(
        "The audio stopped in the middle: nothing came for {seconds:g} s.",
        "Give the app's reader a deadline, and speak the rest again on another socket.",
    ),
    "no_end": Cause(
        "The audio came, but the end of the context never did.",
        "Give the wait for the end a deadline, and close the socket then: the context keeps its slot. An "
        "end comes after close_context only, never after a flush alone.",
    ),
    "end_twice": Cause(
        "The end of one context came twice.",
        "Pair ends with contexts by their id, and ignore those of contexts that have ended.",
    ),
    "late_frames": Cause(
        "Audio of a context came after its end.",
        "Route audio by context id, and drop what belongs to a context that has ended.",
    ),
    "wrong_id": Cause(
        "Audio came for a context that nobody had opened.",
        "Drop audio of unknown ids; never play it for the current turn.",
    ),
    "frame_unreadable": Cause(
        "A frame came that is no JSON object.",
        "Skip such a frame without ending the reader; a proxy that changes frames must go.",
    ),
    "frame_too_big": Cause(
        "A frame of {bytes} bytes came, which the usual clients refuse: they close with 1009.",
        "Raise the client's limit (in Python's websockets: max_size=16*2**20), or ask for a smaller format.",
    ),
    "error_unscoped": Cause(
        "The service reported an error that names no context: {error}.",
        "Log such errors, and end the contexts that wait: this is not one context's fault.",
    ),
    "wrong_format": Cause(
        "The audio is not in the format that was asked for: {detail}.",
        "Decode what comes, or find out what changes the request; audio that is played in the wrong format "
        "is noise.",
    ),
    "settings_changed": Cause(
        "The voice_settings of a context were changed after its first message.",
        "Send voice_settings with the first message of a context, and never again; send no keepalive before "
        "it.",
    ),
    "invalid_message": Cause(
        "The service could not read a message that it was sent.",
        "Send one JSON object in a text frame for each message, with text as a string.",
    ),
    # how sockets end
    "closed_midway": Cause(
        "The socket closed with {code} in the middle of speech.",
        "Treat every close before the end of a context as a failure, also 1000; speak what was not heard "
        "again on a new socket.",
    ),
    "service_restarting": Cause(
        "The service restarted (1012) and took the socket with it.",
        "Open a new socket at once, and speak what was not heard again.",
    ),
    "try_later": Cause(
        "The service is overloaded or shutting down (1013 or HTTP 503).",
        "Try again with growing pauses.",
    ),
    "service_failed": Cause(
        "The service failed inside.",
        "Try again; if it stays, tell the service, with the ids in its answer.",
    ),
    "too_many_contexts": Cause(
        "The context number {number} was too many for one socket{scope}.",
        "Keep at most {limit} contexts open on a socket: close each at the end of its turn and on every "
        "interruption, and count it until its end was confirmed.",
    ),
    "slot_late": Cause(
        "A closed context kept its slot for {seconds:.1f} s.",
        "Count contexts until their end was confirmed, not until close_context was sent; else the next one "
        "may be the one too many.",
    ),
    "empty_keepalive": Cause(
        'An empty text "" was sent where it ends the stream: on stream-input it is no keepalive.',
        'Send a single space " " to keep stream-input alive; "" with a context_id is right on '
        "multi-stream-input only.",
    ),
    "keepalive_ignored": Cause(
        "The context timed out although it was kept alive.",
        "Send keepalives within half of inactivity_timeout, and not through a proxy that holds messages "
        "back.",
    ),
    "input_timeout": Cause(
        "Nothing was sent for {seconds:g} s, and the service ended {what} for it.",
        "Send a keepalive within half of that time, or raise inactivity_timeout (180 at most). WebSocket "
        "pings do not count.",
    ),
    "timeout_ignored": Cause(
        "The service did not end a silent context after the {seconds:g} s that were asked for.",
        "Do not count on its timeout: close contexts at the end of each turn, else they keep their slots. "
        "If the service is known to honour inactivity_timeout, a proxy drops the query of the URL.",
    ),
    "idle_cut": Cause(
        "The silent socket was cut after {seconds:.1f} s, without a word of the service.",
        "A proxy or load balancer on the way has a shorter idle timeout: raise it, or keep alive more often.",
    ),
    "close_unanswered": Cause(
        "The service did not answer the close of the socket.",
        "Bound the wait for the closing handshake in the app (2 to 5 s); nothing is lost by it.",
    ),
    "unfinished": Cause(
        "The examination was not over after {seconds:g} s.",
        "The service answers very slowly: try again with --quick and --contexts 0, and from another network.",
    ),
    "unexplained": Cause(
        "The socket closed with {code} right after it was opened, and the service did not say why.",
        "Try the same key and model over plain HTTP; if that works, something on the way cuts WebSockets.",
    ),
    # what recordings and logs show
    "text_after_end": Cause(
        "Text was sent after the end of the stream: it is never spoken.",
        "Open a new socket for what follows, or use multi-stream-input, where one socket lasts for many "
        "turns.",
    ),
    "text_after_close": Cause(
        "Text was sent to a context that had been told to close: that opens a new one of the same name, "
        "which nobody closes.",
        "Use a new context_id for every turn, and send nothing to an id after its close_context.",
    ),
    "never_closed": Cause(
        "{count} contexts were never told to close; each keeps its slot, and a socket has {limit}.",
        "Send close_context at the end of every turn and on every interruption.",
    ),
    "not_flushed": Cause(
        "The last text was never flushed, and not spoken: the service was waiting for more.",
        'Send {{"flush": true}} (or close the context) at the end of a turn, or set auto_mode=true and send '
        "whole sentences.",
    ),
    "socket_per_turn": Cause(
        "{count} sockets were opened for one utterance each: every one pays for TCP, TLS and the handshake "
        "({seconds:.2f} s here).",
        "Keep one socket for many turns: multi-stream-input, with a context for each.",
    ),
    "late_after_cancel": Cause(
        "Audio of a cancelled context went on for {seconds:.1f} s.",
        "Drop audio of a context from the moment of the interruption; on KugelAudio cancel with "
        '"immediate": true.',
    ),
    "policy": Cause(
        "The service refused to go on (1008), for a reason that the doctor does not know.",
        "Read the reason in the close frame or in the last error: ElevenLabs closes with 1008 for every "
        "refusal.",
    ),
    "starved_loop": Cause(
        "The socket died of an unanswered ping (1011): one end was too busy to answer.",
        "Nothing may block the event loop (audio conversion, models, time.sleep): move it into a thread or "
        "process, and allow pings more time.",
    ),
    "connection_cut": Cause(
        "The connection was cut without a close frame (1006).",
        "The network, a proxy or the end of a process does that, not a rule of the service: speak what was "
        "not heard again on a new socket. If it is always after the same quiet time, a proxy's idle timeout "
        "is the cause.",
    ),
    "closed_unexplained": Cause(
        "The socket was closed{when}, and the log does not hold the reason.",
        "Let the app log the close code and reason and the last message with an error; `mux doctor URL "
        "--api-key KEY` tries everything that can be refused, and `mux tap` records what is really said.",
    ),
    "unclosed_session": Cause(
        "An aiohttp session was never closed: nobody who made it owns it (a leak, but no cause of a close).",
        "Close the session where it is made (async with), and the text-to-speech object at the end of each "
        "call (aclose); or pass in a session of your own, and close that.",
    ),
    "shared_reader": Cause(
        "Two tasks read from one socket at the same time.",
        "Let one task read and hand messages to their contexts by id.",
    ),
    "retry_says_nothing": Cause(
        "The turn was retried or ended without any audio.",
        "Look for the first failure above it. Keep the text of a turn until its audio has come, and say it "
        "again on a new socket.",
    ),
    "answer_never_ends": Cause(
        "The app waited for the end of an utterance that the service does not end by itself.",
        'On stream-input send {{"text": ""}} when all text is sent: isFinal and the close come only then.',
    ),
}
