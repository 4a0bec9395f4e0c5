"""stream=true: events, signs of life, failures, and clients that are slow or leave.

The numbers in a name are lines of the list in docs/conformance.md.
"""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
import requests
from false_worker import FAILED, FINISHED, SEGMENT, STARTED, FalseWorker
from holding import Held, station_of
from house import CLIP, DATA
from openai_sdk import Sdk
from processes import until
from running import KEY, Running, serve, serve_gateway, serve_worker

ROUTE = "/v1/audio/transcriptions"
DE2 = DATA / "short/de-2.wav"
LONG = DATA / "hard/40s-pause.wav"
LONGER = DATA / "long/en-10min.mp3"
TEXT2 = "Es ist im dritten Stock. Das Wetter in Berlin ist heute warm."


def stream(gateway: Running, file: bytes = b"sound", **fields: str) -> requests.Response:
    form: list[tuple[str, Any]] = [("model", (None, "micro")), ("stream", (None, "true"))]
    form += [(name, (None, value)) for name, value in fields.items()]
    # The proxy of these tests ends with its connection.
    headers = {"Accept": "application/json", "Connection": "close"}
    return gateway.post(ROUTE, files=[*form, ("file", file)], headers=headers, stream=True)


def blocks(answer: requests.Response) -> Iterator[str]:
    """Comments, of a line each, and events, which a blank line ends, as they arrive."""
    waiting = ""
    for piece in answer.iter_content(chunk_size=None):
        waiting += piece.decode()
        while block := re.match(r"(:.*)\n|(data: .*)\n\n", waiting):
            waiting = waiting[block.end() :]
            yield block[1] or block[2]
    assert waiting == "", "a stream ends on a blank line"


def events(found: Iterator[str]) -> list[dict[str, Any]]:
    """The JSON of the blocks that are events; the others are comments, and the last is [DONE]."""
    lines = [block for block in found if not block.startswith(":")]
    assert lines.pop() == "data: [DONE]"
    assert all(line.startswith("data: {") and "\n" not in line for line in lines)
    return [json.loads(line.removeprefix("data: ")) for line in lines]


@contextmanager
def played(*lines: str | threading.Event, hang: bool = False, **settings: object) -> Iterator[Any]:
    """A false worker and a gateway before it."""
    false = FalseWorker(*lines, hang=hang)
    with serve(false.app) as worker, serve_gateway(worker.url, **settings) as gateway:
        yield false, gateway


def test_51_52_deltas_then_one_done(both: Sdk) -> None:
    found = both.events(file=DE2, model="micro")
    assert [event.type for event in found] == [
        "transcript.text.delta",
        "transcript.text.delta",
        "transcript.text.done",
    ]
    assert found[-1].usage.type == "tokens"
    assert found[-1].usage.input_tokens == 228


def test_53_deltas_done_and_json_say_the_same(both: Sdk) -> None:
    found = both.events(file=DE2, model="micro")
    assert "".join(event.delta for event in found[:-1]).strip() == TEXT2
    assert found[-1].text == TEXT2
    assert both.transcribe(file=DE2, model="micro").text == TEXT2


def test_54_55_each_block_is_one_line_of_data(gateway: Running) -> None:
    answer = stream(gateway, DE2.read_bytes())
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert "content-encoding" not in answer.headers
    found = list(blocks(answer))
    assert all(re.fullmatch("data: .+", block) for block in found)
    assert [event["type"] for event in events(iter(found))] == [
        "transcript.text.delta",
        "transcript.text.delta",
        "transcript.text.done",
    ]


def test_54_characters_that_end_lines_for_some_clients_are_escaped() -> None:
    segment = SEGMENT.replace(" Hi.", " a\x85b\u2028c\u2029d\u00e9")
    with played(STARTED, segment, FINISHED) as (_, gateway):
        found = list(blocks(stream(gateway)))
    assert all(len(block.splitlines()) == 1 for block in found)
    assert "\u00e9" in found[1], "other letters stay readable"
    assert events(iter(found))[0]["delta"] == " a\x85b\u2028c\u2029d\u00e9"


def test_56_the_first_delta_comes_while_the_rest_is_still_worked_on(gateway: Running) -> None:
    found = events(blocks(stream(gateway, LONG.read_bytes(), progress="true")))
    kinds = [event["type"].removeprefix("transcript.") for event in found]
    after = found[kinds.index("text.delta") :]
    progress = [event for event in after if event["type"] == "transcript.progress"]
    assert progress[0]["audio_seconds_done"] < progress[0]["audio_seconds_total"] / 2
    assert kinds[0] == "progress"
    assert kinds[-1] == "text.done"
    deltas = [event["delta"] for event in found if event["type"] == "transcript.text.delta"]
    assert found[-1]["text"] == "".join(deltas).strip()


def test_56_a_delta_is_passed_on_before_the_worker_has_finished() -> None:
    with played(STARTED, SEGMENT, hang=True) as (_, gateway), stream(gateway) as answer:
        found = blocks(answer)
        assert next(block for block in found if not block.startswith(":")) == (
            'data: {"type":"transcript.text.delta","delta":" Hi."}'
        )


def test_58_speakers_are_refused_before_the_stream(sdk: Sdk) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        sdk.events(file=CLIP, model="micro", response_format="diarized_json")
    assert caught.value.status_code == 501


def test_59_each_delta_has_its_tokens_and_done_all_of_them(both: Sdk) -> None:
    *deltas, done = both.events(file=DE2, model="micro", include=["logprobs"])
    assert len(deltas) == 2
    for delta in deltas:
        assert bytes(b for token in delta.logprobs for b in token.bytes).decode() == delta.delta
    told = [token.to_dict() for delta in deltas for token in delta.logprobs]
    assert [token.to_dict() for token in done.logprobs] == told


def test_60_what_is_no_audio_is_refused_before_the_stream(both: Sdk) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        both.events(file=b"Good morning." * 99, model="micro")
    assert caught.value.code == "unsupported_media_type"


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    ("last", "code"), [([FAILED], "audio_too_long"), ([], "worker_unavailable")]
)
def test_61_a_failure_in_the_stream_is_an_error_of_the_sdk(
    kind: Any, last: list[str], code: str
) -> None:
    with played(STARTED, SEGMENT, *last) as (_, gateway):
        with pytest.raises(openai.APIError) as caught:
            Sdk(gateway.url, kind).events(file=CLIP, model="micro")
        assert caught.value.code == code
        found = list(blocks(stream(gateway)))
        assert json.loads(found[-1].removeprefix("data: "))["error"]["code"] == code


def test_60_a_failure_instead_of_any_event_keeps_its_status() -> None:
    with played(FAILED) as (_, gateway):
        answer = stream(gateway)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "audio_too_long")


PROGRESS = '{"type":"progress","stage":"transcribing","audio_seconds_done":1.0}\n'


def test_60_so_does_one_behind_events_that_are_not_told() -> None:
    with played(STARTED, PROGRESS, FAILED) as (_, gateway):
        answer = stream(gateway)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "audio_too_long")
        told = stream(gateway, progress="true")
        assert told.status_code == 200
        assert "audio_too_long" in list(blocks(told))[-1]


def test_60_a_long_wait_for_the_first_event_begins_the_stream() -> None:
    """Without headers a proxy, or Node's `fetch`, would give up."""
    goes_on = threading.Event()
    with played(STARTED, goes_on, FAILED, keep_alive_seconds=0.2) as (_, gateway):
        answer = stream(gateway)
        goes_on.set()
        assert answer.status_code == 200
        assert "audio_too_long" in list(blocks(answer))[-1]


def test_62_a_client_that_leaves_ends_the_workers_stream() -> None:
    with played(STARTED, SEGMENT, hang=True) as (false, gateway):
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY) as client:
            found = client.audio.transcriptions.create(file=CLIP, model="micro", stream=True)
            assert next(iter(found)).type == "transcript.text.delta"
            found.close()
        assert false.released.wait(30)


def test_62_a_client_that_leaves_frees_the_engine_of_all_that_has_not_started() -> None:
    held = Held()
    with serve_worker(whisper_workers=1) as worker, serve_gateway(worker.url) as gateway:
        station = station_of(worker)
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY) as client:
            found = client.audio.transcriptions.create(file=LONGER, model="micro", stream=True)
            assert next(iter(found)).type == "transcript.text.delta"
            held.hold(station)
            assert held.entered.wait(60)
            assert station.scheduler.load.backlog_seconds > 0
            found.close()
        until(lambda: station.scheduler.load.backlog_seconds == 0, "its windows were dropped")
        held.gate.set()
        assert Sdk(gateway.url).transcribe(file=DE2, model="micro").text == TEXT2


@pytest.mark.parametrize("more", [b"", b"\r\n", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_62_a_client_that_leaves_while_it_waits_in_the_queue_is_let_go(more: bytes) -> None:
    """Though it has sent more than one request, which waits unread behind it."""
    with played(hang=True) as (false, gateway):
        address = urlsplit(gateway.url)
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(raw_request().replace(b"Connection: close\r\n", b""))
            assert false.streaming.wait(30)
            time.sleep(0.5)  # until somebody waits to see the client leave
            connection.sendall(more)
            time.sleep(0.1)
        assert false.released.wait(30)


@pytest.mark.parametrize("name", ["srt", "vtt", "verbose_json"])
def test_63_only_text_is_streamed(both: Sdk, name: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        both.events(file=CLIP, model="micro", response_format=name)
    assert caught.value.param == "response_format"


def test_text_is_streamed_as_json_is(sdk: Sdk) -> None:
    assert sdk.events(file=DE2, model="micro", response_format="text")[-1].text == TEXT2


def test_segments_and_words_come_beside_the_deltas_where_asked(sdk: Sdk) -> None:
    found = sdk.events(file=DE2, model="micro", timestamp_granularities=["segment", "word"])
    assert [event.type.removeprefix("transcript.text.") for event in found] == [
        *("delta", "segment", "delta", "segment", "done"),
    ]
    assert (found[1].id, found[3].id) == ("seg_0", "seg_1")
    assert found[1].text == found[0].delta
    assert found[1].end <= found[3].start
    assert [word["word"] for word in found[1].words] == TEXT2.split()[:5]


def test_silence_is_one_done_without_text(both: Sdk) -> None:
    found = both.events(file=DATA / "hard/silence-20s.wav", model="micro")
    assert [(event.type, event.text) for event in found] == [("transcript.text.done", "")]


def test_every_blank_line_ends_an_event(gateway: Running) -> None:
    """OpenAI's SDK for Go before 3.43 parses what came before each of them, and a comment leaves nothing."""
    data = b""
    for line in stream(gateway, DE2.read_bytes()).content.splitlines():
        if line.startswith(b"data: "):
            data = line
        elif line == b"":
            assert data, "an event without data"
            data = b""
        else:
            assert line.startswith(b":")
    assert data == b""


def test_57_a_silent_worker_is_bridged_by_comments_that_no_client_sees() -> None:
    spoken = threading.Event()
    with played(STARTED, spoken, SEGMENT, FINISHED, keep_alive_seconds=0.01) as (_, gateway):
        found = blocks(stream(gateway))
        first = [next(found) for _ in range(4)]
        spoken.set()
        assert first == [": keep-alive"] * 4
        assert [event["type"] for event in events(found)] == [
            "transcript.text.delta",
            "transcript.text.done",
        ]
        assert [event.type for event in Sdk(gateway.url).events(file=CLIP, model="micro")] == [
            "transcript.text.delta",
            "transcript.text.done",
        ]


@contextmanager
def impatient_proxy(gateway: Running, idle_seconds: float) -> Iterator[Running]:
    """Passes bytes on, and cuts a connection on which none came back for so long after the head of the answer.

    Before that it waits: only the silences of a stream are to be short, not its way here.
    """
    address = urlsplit(gateway.url)
    listener = socket.create_server(("127.0.0.1", 0))

    def back(server: socket.socket, client: socket.socket) -> None:
        try:
            while piece := server.recv(65_536):
                client.sendall(piece)
                if b"\r\n\r\n" in piece:
                    server.settimeout(idle_seconds)
        except OSError:
            pass
        for end in (server, client):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve_one() -> None:
        try:
            client, _ = listener.accept()
        except OSError:  # the test has ended before it came here
            return
        server = socket.create_connection((address.hostname, address.port))
        answering = threading.Thread(target=back, args=(server, client))
        answering.start()
        try:
            while piece := client.recv(65_536):
                server.sendall(piece)
        except OSError:
            pass
        answering.join()
        server.close()
        client.close()

    thread = threading.Thread(target=serve_one)
    thread.start()
    try:
        yield Running(gateway.app, f"http://127.0.0.1:{listener.getsockname()[1]}")
    finally:
        with suppress(OSError):  # where nobody has come, it still waits
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def test_a_proxy_that_cuts_idle_connections_does_not_cut_a_long_wait() -> None:
    spoken = threading.Event()
    with (
        played(STARTED, spoken, SEGMENT, FINISHED, keep_alive_seconds=0.1) as (_, gateway),
        impatient_proxy(gateway, idle_seconds=2) as proxy,
        stream(proxy) as answer,
    ):
        found = blocks(answer)
        # Thirty tenths of a second of nothing but comments: longer than the proxy allows.
        assert [next(found) for _ in range(30)] == [": keep-alive"] * 30
        spoken.set()
        assert len(events(found)) == 2


def test_the_proxy_of_these_tests_would_cut_a_stream_without_comments() -> None:
    spoken = threading.Event()
    with (
        played(STARTED, SEGMENT, spoken, keep_alive_seconds=60) as (_, gateway),
        impatient_proxy(gateway, idle_seconds=0.3) as proxy,
        stream(proxy) as answer,
    ):
        found = blocks(answer)
        assert next(found).startswith("data: ")
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            next(found)
        spoken.set()


def raw_request() -> bytes:
    body = b""
    for name, value in (("model", b"micro"), ("stream", b"true"), ("file", b"sound")):
        body += f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
        body += value + b"\r\n"
    body += b"--b--\r\n"
    head = (
        f"POST {ROUTE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def test_a_client_that_reads_slowly_holds_the_worker_back_and_loses_nothing() -> None:
    # Twice what the sockets and buffers on the way can hold between them.
    large = SEGMENT.replace(" Hi.", "x" * 1_000_000)
    with played(STARTED, *[large] * 40, FINISHED) as (false, gateway):
        address = urlsplit(gateway.url)
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(raw_request())
            received = connection.recv(65_536)
            assert not false.streaming.wait(2)
            while piece := connection.recv(1_000_000):
                received += piece
        assert false.streaming.is_set()
        assert received.count(b"transcript.text.delta") == 40
        assert b"data: [DONE]\n\n" in received
