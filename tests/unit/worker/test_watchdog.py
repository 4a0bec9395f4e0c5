"""The watchdog: steps that take too long, and what goes on beside them."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from processes import until
from scheduling import Clip, Engine, running
from worker.errors import Overloaded
from worker.scheduler import Arrival, Report, StallReport
from worker.scheduler.watchdog import Watchdog


def test_a_step_that_takes_far_too_long_is_reported_with_its_windows_once() -> None:
    now = [0.0]
    reports: list[Report] = []
    engine = Engine()
    scheduler = running(engine, hooks=[reports.append], clock=lambda: now[0])
    engine.gate.clear()
    future = scheduler.open().submit(Clip("request r1, window 30.0-58.2 s"))
    engine.entered.acquire()
    assert scheduler.watchdog.stalled == ()
    now[0] = 61.0
    assert scheduler.watchdog.stalled == ("request r1, window 30.0-58.2 s",)
    scheduler.watchdog.look()
    scheduler.watchdog.look()
    engine.gate.set()
    future.result(30)
    scheduler.close()
    stalls = [report for report in reports if isinstance(report, StallReport)]
    assert stalls == [StallReport(("request r1, window 30.0-58.2 s",), 61.0, 0.0)]
    assert scheduler.watchdog.stalled == ()


def test_a_step_is_late_after_ten_times_what_it_should_take_and_the_log_names_its_window(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    reports: list[Report] = []
    watchdog = Watchdog(reports.append, lambda: now[0])
    with watchdog.watching(("request r1, window 30.0-58.2 s",), expected=20.0):
        now[0] = 199.0
        watchdog.look()
        assert (watchdog.stalled, caplog.messages) == ((), [])
        now[0] = 201.0
        watchdog.look()
    assert caplog.messages == ["stalled for 201 s on request r1, window 30.0-58.2 s"]
    assert reports == [StallReport(("request r1, window 30.0-58.2 s",), 201.0, 20.0)]


def test_a_late_step_is_reported_without_anybody_asking() -> None:
    now = [0.0]
    reports: list[Report] = []
    watchdog = Watchdog(reports.append, lambda: now[0])
    watchdog.start()
    with watchdog.watching(("window",), expected=None):
        now[0] = 61.0
        until(lambda: bool(reports), "the step was reported")
    watchdog.stop()
    assert reports == [StallReport(("window",), 61.0, 0.0)]


def test_a_step_that_fails_runs_no_longer() -> None:
    now = [0.0]
    watchdog = Watchdog(lambda report: None, lambda: now[0])
    with pytest.raises(ValueError, match="bad"), watchdog.watching(("window",), expected=None):
        raise ValueError("bad")
    now[0] = 1000.0
    assert watchdog.stalled_steps == 0


def test_nobody_is_taken_while_every_thread_is_stalled() -> None:
    now = [0.0]
    engine = Engine()
    scheduler = running(engine, clock=lambda: now[0])
    engine.gate.clear()
    lane = scheduler.open()
    hangs = lane.submit(Clip("hangs"))
    engine.entered.acquire()
    now[0] = 60.0
    scheduler.check(Arrival())
    assert not lane.is_stalled
    now[0] = 61.0
    with pytest.raises(Overloaded, match="The model has stopped working"):
        scheduler.check(Arrival())
    assert lane.is_stalled
    engine.gate.set()
    assert hangs.result(30) == "text of hangs"
    scheduler.check(Arrival())
    scheduler.close()


def test_requests_are_taken_and_served_while_one_thread_of_two_is_stalled() -> None:
    now = [0.0]
    held = threading.Event()

    def hang(batch: list[Clip]) -> None:
        assert batch[0].name == "served" or held.wait(30)

    engine = Engine(hang)
    scheduler = running(engine, workers=2, max_batch_size=1, clock=lambda: now[0])
    lane = scheduler.open()
    hanging = [lane.submit(Clip("first"))]
    engine.entered.acquire()
    now[0] = 61.0
    assert scheduler.watchdog.stalled == ("first",)
    served = scheduler.open()
    assert (lane.is_stalled, served.is_stalled) == (True, False)
    assert served.submit(Clip("served")).result(30) == "text of served"
    engine.entered.acquire()
    hanging.append(scheduler.open().submit(Clip("second")))
    engine.entered.acquire()
    now[0] = 122.0
    with pytest.raises(Overloaded, match="The model has stopped working"):
        scheduler.check(Arrival())
    held.set()
    assert [future.result(30) for future in hanging] == ["text of first", "text of second"]
    scheduler.check(Arrival())
    scheduler.close()


def test_closing_does_not_wait_for_a_step_that_is_stalled() -> None:
    now = [0.0]
    engine = Engine()
    scheduler = running(engine, max_batch_size=1, clock=lambda: now[0])
    engine.gate.clear()
    futures = [scheduler.open().submit(Clip("hangs"))]
    engine.entered.acquire()
    futures.append(scheduler.open().submit(Clip("waits")))
    now[0] = 61.0
    with ThreadPoolExecutor(1) as pool:
        closed = pool.submit(scheduler.close)
        for future in futures:
            with pytest.raises(Overloaded, match="shutting down"):
                future.result(30)
        assert closed.result(30) is False
        engine.gate.set()
    for thread in scheduler._workers._threads:
        thread.join(30)
    assert scheduler.alive, "a result that nobody waits for any more harms no thread"
    assert scheduler.close() is True
