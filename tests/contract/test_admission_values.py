"""What the worker's HTTP says of the queue, and who is next in it: tenants, classes, places, times."""

import json
import threading
import wave
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pytest
import requests
from house import CLIP, SPEECH
from running import Running, serve_worker
from worker.decoding.attempt import Attempt, Outcome
from worker.decoding.station import Station
from worker.scheduler.speed import Speed
from worker.transcribe import Transcriber

TEXT = "It is on the first floor."


@dataclass
class Queued:
    """A worker whose engine waits with a first request, so that all others are in its queue."""

    worker: Running
    station: Station
    pool: ThreadPoolExecutor
    served: list[str] = field(default_factory=list)
    """Which requests the engine has begun, in order."""
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)

    def hold(self) -> None:
        """Let the engine wait with each of its steps until it is let go."""
        step = self.station.scheduler._executor._step

        def waiting(batch: list[Attempt]) -> list[Outcome]:
            self.served.extend(attempt.description.split(",")[0] for attempt in batch)
            self.entered.set()
            assert self.gate.wait(60)
            return list(step(batch))

        self.station.scheduler._executor._step = waiting

    def first(self) -> "Future[dict[str, Any]]":
        """Send the request that the engine waits with."""
        sent = self.pool.submit(self.send, "first")
        assert self.entered.wait(60)
        return sent

    def send(self, name: str, **options: str) -> dict[str, Any]:
        """Send a request, wait for its end and return its first event."""
        with requests.post(
            f"{self.worker.url}/transcribe/micro",
            files={"file": SPEECH},
            data={"language": "en", "beam_size": "1", **options},
            headers={"Accept": "application/jsonl", "X-Request-ID": name},
            timeout=120,
        ) as answer:
            events = [json.loads(line) for line in answer.iter_lines()]
        assert "".join(e["text"] for e in events if e["type"] == "segment").strip() == TEXT
        return dict(events[0])

    def behind(self, name: str, **options: str) -> "Future[dict[str, Any]]":
        """Send a further request and return when its window is in the queue."""
        queue, pause = self.station.scheduler._queue, threading.Event()
        waiting = len(queue)
        sent = self.pool.submit(self.send, name, **options)
        while len(queue) == waiting:
            assert not sent.done(), sent.result()
            pause.wait(0.01)
        return sent

    def let_go(self, *sent: "Future[dict[str, Any]]") -> list[dict[str, Any]]:
        """Let the engine work; the first event of each request."""
        self.gate.set()
        return [one.result(60) for one in sent]


@contextmanager
def queueing(**settings: int) -> Iterator[Queued]:
    """A worker that does one window at a time."""
    with (
        serve_worker(whisper_workers=1, whisper_max_batch_size=1, **settings) as worker,
        ThreadPoolExecutor(8) as pool,
    ):
        transcriber: Transcriber = worker.app.state.transcriber
        queued = Queued(worker, transcriber.models.station("micro"), pool)
        queued.hold()
        try:
            yield queued
        finally:
            queued.gate.set()


@pytest.fixture
def queued() -> Iterator[Queued]:
    """Such a worker, with room for all."""
    with queueing() as queued:
        yield queued


def places(events: list[dict[str, Any]]) -> list[tuple[int, float]]:
    return [(event["queue_position"], event["predicted_start_seconds"]) for event in events]


def test_started_tells_the_place_in_the_queue_and_when_the_work_will_begin(queued: Queued) -> None:
    speed = Speed(workers=1)
    speed.observe(windows=1, seconds=15.0, now=0.0)
    queued.station.scheduler.speed = speed
    sent = [queued.first(), *(queued.behind(name) for name in ("a", "b", "c"))]
    # The one that runs is before all the others, but it does not wait any more.
    assert places(queued.let_go(*sent)) == [(0, 0.0), (0, 15.0), (1, 30.0), (2, 45.0)]


def test_started_counts_those_who_go_before_and_not_those_who_go_after(queued: Queued) -> None:
    speed = Speed(workers=1)
    speed.observe(windows=1, seconds=2.0, now=0.0)
    queued.station.scheduler.speed = speed
    sent = [
        queued.first(),
        *(queued.behind(f"busy-{n}", tenant="busy") for n in (1, 2, 3)),
        queued.behind("modest", tenant="modest"),
        queued.behind("bulk", tenant="other", priority="bulk"),
        queued.behind("live", tenant="other", priority="live"),
    ]
    told = places(queued.let_go(*sent))
    assert [position for position, _ in told] == [0, 0, 1, 2, 3, 4, 0]
    # `modest` waits for the one that runs and for one turn of `busy`, `bulk` for everybody.
    assert [start for _, start in told] == [0.0, 2.0, 4.0, 6.0, 4.0, 10.0, 2.0]


def test_tenants_take_turns_by_the_option_of_their_requests(queued: Queued) -> None:
    sent = [
        queued.first(),
        *(queued.behind(f"busy-{n}", tenant="busy") for n in (1, 2, 3)),
        *(queued.behind(f"modest-{n}", tenant="modest") for n in (1, 2)),
    ]
    queued.let_go(*sent)
    assert queued.served == ["first", "busy-1", "modest-1", "busy-2", "modest-2", "busy-3"]


def test_requests_of_one_tenant_are_served_as_they_came(queued: Queued) -> None:
    names = ["a", "b", "c"]
    queued.let_go(queued.first(), *(queued.behind(name, tenant="one") for name in names))
    assert queued.served == ["first", "a", "b", "c"]


def test_live_passes_waiting_bulk_by_the_option_of_its_request(queued: Queued) -> None:
    sent = [
        queued.first(),
        queued.behind("bulk", priority="bulk"),
        queued.behind("default"),
        queued.behind("live", priority="live"),
    ]
    queued.let_go(*sent)
    assert queued.served == ["first", "live", "default", "bulk"]


def test_a_queue_that_one_tenant_has_filled_takes_another_ones_request() -> None:
    with queueing(whisper_max_queue=1) as queued:
        sent = [queued.first(), queued.behind("waits")]
        full = requests.post(
            f"{queued.worker.url}/transcribe/micro", files={"file": SPEECH}, timeout=60
        )
        assert (full.status_code, full.json()["error"]["code"]) == (503, "overloaded")
        sent.append(queued.behind("other", tenant="other"))
        queued.let_go(*sent)
    assert queued.served == ["first", "waits", "other"]


# --- the VAD ------------------------------------------------------------------------------------


def twice(silence: float) -> bytes:
    """A sentence twice with so many seconds of silence between."""
    with wave.open(str(CLIP)) as short:
        sentence = short.readframes(short.getnframes())
    target = BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(2 * round(silence * 16_000)).join([sentence, sentence]))
    return target.getvalue()


@pytest.mark.parametrize(
    ("parameters", "dropped", "text"),
    [
        ({}, 2.9, f"{TEXT} {TEXT}"),
        ({"min_silence_duration_ms": 10_000}, 0.0, f"{TEXT} {TEXT}"),
        ({"speech_pad_ms": 1000}, 1.7, f"{TEXT} {TEXT}"),
        ({"threshold": 0.999}, 7.2, ""),
        ({"min_speech_duration_ms": 10_000}, 7.2, ""),
    ],
    ids=["default", "min_silence", "speech_pad", "threshold", "min_speech"],
)
def test_the_parameters_of_a_request_say_what_the_vad_leaves_out(
    worker: Running, parameters: dict[str, float], dropped: float, text: str
) -> None:
    """7.15 s of which 2.7 s are speech and 3 s in the middle are silence."""
    data = {"vad_parameters": json.dumps(parameters), "language": "en"}
    answer = worker.post("/transcribe/micro", files={"file": twice(3.0)}, data=data)
    assert answer.status_code == 200
    found = answer.json()
    assert found["text"] == text
    assert found["dropped_seconds"] == pytest.approx(dropped, abs=0.15)
