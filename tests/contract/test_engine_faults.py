"""What the engine does when things go wrong, through HTTP: a full queue, leaving clients, stalls."""

import http.client
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from holding import Held, station_of
from house import SPEECH
from processes import until
from running import KEY, Running, serve_gateway, serve_worker
from worker.engine import OutOfMemory

TEXT = "It is on the first floor."


def ask(worker: Running, clip: bytes = SPEECH) -> tuple[int, str]:
    """Status and text, or the code of the error; a full queue must say when to come again."""
    answer = worker.post("/transcribe/micro", files={"file": clip})
    if answer.status_code == 200:
        return 200, answer.json()["text"]
    if answer.status_code == 503:
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
    return answer.status_code, answer.json()["error"]["code"]


@pytest.fixture
def held() -> Held:
    return Held()


def test_two_hundred_clients_on_a_full_queue_are_all_answered(held: Held) -> None:
    with serve_worker(whisper_max_queue=8, whisper_workers=1) as worker:
        station = station_of(worker)
        held.hold(station)
        with ThreadPoolExecutor(200) as pool:
            first = pool.submit(ask, worker)
            assert held.entered.wait(60)
            refused = threading.Semaphore(0)
            others = [pool.submit(ask, worker) for _ in range(199)]
            for other in others:
                other.add_done_callback(lambda _: refused.release())
            # 8 wait beside the one that runs; all the others are told so at once.
            for _ in range(191):
                assert refused.acquire(timeout=60)
            held.gate.set()
            answers = Counter([first.result(60), *(other.result(60) for other in others)])
        assert answers == {(200, TEXT): 9, (503, "overloaded"): 191}
        assert station.scheduler.load.backlog_seconds == 0


def test_a_step_that_never_ends_turns_readiness_red_and_health_answers(held: Held) -> None:
    with serve_worker() as worker:
        station = station_of(worker)
        station.scheduler.watchdog.stall_floor_seconds = 0.0
        station.scheduler.watchdog.stall_factor = 0.0
        held.hold(station)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ask, worker)
            assert held.entered.wait(60)
            health = worker.get("/readyz")
            assert (health.status_code, health.json()["status"]) == (503, "stalled")
            assert worker.get("/livez").status_code == 200
            held.gate.set()
            assert waiting.result(60) == (200, TEXT)
        assert worker.get("/readyz").status_code == 200


def test_a_client_that_leaves_frees_its_place_at_once(held: Held) -> None:
    with serve_worker(whisper_workers=1) as worker:
        station = station_of(worker)
        held.hold(station)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(ask, worker)
            assert held.entered.wait(60)
            leaving = _send(worker)
            until(lambda: station.scheduler.load.waiting_requests == 1)
            leaving.close()
            until(lambda: station.scheduler.load.waiting_requests == 0)
            held.gate.set()
            assert running.result(60) == (200, TEXT)


def test_a_client_that_leaves_the_gateway_is_not_heard_for_its_language(held: Held) -> None:
    with serve_worker(whisper_workers=1) as worker, serve_gateway(worker.url) as gateway:
        station = station_of(worker)
        held.hold(station)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(ask, worker)
            assert held.entered.wait(60)
            leaving = _send(gateway, "/detect-language/micro")
            until(lambda: station.scheduler.load.waiting_requests == 1)
            leaving.close()
            until(lambda: station.scheduler.load.waiting_requests == 0)
            held.gate.set()
            assert running.result(60) == (200, TEXT)


def test_a_model_that_was_unloaded_fails_requests_hangs_none_and_is_not_ready() -> None:
    with serve_worker() as worker:
        station = station_of(worker)
        assert ask(worker) == (200, TEXT)
        assert worker.get("/readyz").status_code == 200
        station.engine.close()
        assert ask(worker) == (500, "internal_error")
        assert ask(worker) == (500, "internal_error")
        until(lambda: worker.get("/readyz").status_code == 503)
        assert worker.get("/health").json()["status"] == "stalled"


def test_a_device_too_small_for_one_window_is_told_with_what_helps() -> None:
    with serve_worker() as worker:
        station = station_of(worker)

        def overflow(mels: object, known: object) -> object:
            raise OutOfMemory("CUDA failed with error out of memory")

        station.engine.encode = overflow  # type: ignore[method-assign, assignment]
        for route in ("/transcribe/micro", "/detect-language/micro"):
            answer = worker.post(route, files={"file": SPEECH})
            assert answer.status_code == 503
            assert answer.headers["x-should-retry"] == "false"
            error = answer.json()["error"]
            assert (error["code"], error["param"]) == ("model_unavailable", "model")
            assert error["message"] == (
                "The memory of the device is too small for one window of the model 'micro': serve a "
                "smaller model, fewer of them, or set WHISPER_COMPUTE_TYPE to int8"
            )
        del station.engine.encode  # type: ignore[method-assign]
        assert ask(worker) == (200, TEXT)


@pytest.mark.parametrize("call", ["encode", "generate", "align"])
def test_an_exception_in_any_call_of_the_engine_ends_its_request_alone(call: str) -> None:
    """The call fails once; the request says so, and the next one is served."""
    with serve_worker(whisper_workers=1) as worker:
        station = station_of(worker)
        works = getattr(station.engine, call)
        failures = [RuntimeError(f"a bug in {call}")]

        def fail(*args: object, **options: object) -> object:
            if failures:
                raise failures.pop()
            return works(*args, **options)

        setattr(station.engine, call, fail)
        assert ask(worker) == (500, "internal_error")
        assert ask(worker) == (200, TEXT)
        assert station.is_well


def test_a_dead_inference_thread_is_seen_and_leaves_nobody_waiting() -> None:
    with serve_worker(whisper_workers=1) as worker:
        station = station_of(worker)

        def die(mels: object, known: object) -> object:
            raise SystemExit

        station.engine.encode = die  # type: ignore[method-assign, assignment]
        assert ask(worker) == (500, "internal_error")
        assert worker.get("/readyz").json()["status"] == "stalled"
        assert ask(worker) == (503, "overloaded")


def _send(service: Running, path: str = "/transcribe/micro") -> http.client.HTTPConnection:
    """Send a whole request and do not wait for its answer."""
    connection = http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=60)
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = head + SPEECH + b"\r\n--b--\r\n"
    headers = {
        "Authorization": f"Bearer {KEY}",
        "Content-Type": "multipart/form-data; boundary=b",
        "Content-Length": str(len(body)),
    }
    connection.request("POST", path, body=body, headers=headers)
    return connection
