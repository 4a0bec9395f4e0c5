"""The executor: batches that fail or are too large, and how many windows the next ones have."""

import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from processes import until
from scheduling import Clip, Engine, clips, running
from worker.scheduler import BatchTooLarge, Scheduler, loop
from worker.scheduler.batch_limit import GOOD_STEPS, BatchLimit
from worker.scheduler.executor import PAUSES, Executor
from worker.scheduler.queue import Entry, FairQueue
from worker.scheduler.speed import Speed
from worker.scheduler.watchdog import Watchdog


def test_one_bad_window_fails_alone() -> None:
    def fail(batch: list[Clip]) -> Exception | None:
        return ValueError("bad") if any(clip.name == "bad" for clip in batch) else None

    engine = Engine(fail)
    scheduler = running(engine)
    engine.gate.clear()
    names = ["first", "good", "bad", "fine"]
    futures = [scheduler.open().submit(Clip(name)) for name in names]
    engine.gate.set()
    assert futures[1].result(30) == "text of good"
    assert futures[3].result(30) == "text of fine"
    with pytest.raises(ValueError, match="bad"):
        futures[2].result(30)
    assert scheduler.alive
    scheduler.close()


def test_a_step_that_answers_for_too_few_windows_fails_them_and_not_its_thread() -> None:
    scheduler = Scheduler[Clip, str](lambda batch: ["text"] if len(batch) == 1 else [])
    futures = [scheduler.open().submit(Clip(str(n))) for n in range(4)]
    scheduler.start()
    assert [future.result(30) for future in futures] == ["text"] * 4
    assert scheduler.alive
    scheduler.close()


def test_of_a_batch_it_is_told_how_many_requests_and_windows_it_has() -> None:
    reports = list[Any]()
    scheduler = Scheduler[Clip, str](Engine().step, hooks=[reports.append])
    lane, other = scheduler.open(), scheduler.open()
    lane.place.batches = 1
    futures = [one.submit(Clip(str(n))) for n, one in enumerate((lane, lane, other))]
    scheduler.start()
    for future in futures:
        future.result(30)
    scheduler.close()
    [report] = reports
    assert (report.batch_size, report.requests) == (3, 2)


def test_a_batch_that_is_too_large_is_halved_now_and_from_now_on() -> None:
    engine = Engine(lambda batch: BatchTooLarge() if len(batch) > 2 else None)
    scheduler = Scheduler[Clip, str](engine.step, max_batch_size=8)
    futures = [scheduler.open().submit(Clip(str(n))) for n in range(9)]
    scheduler.start()
    assert [future.result(30) for future in futures] == [f"text of {n}" for n in range(9)]
    scheduler.close()
    assert [len(batch) for batch in engine.batches] == [8, 4, 2, 2, 4, 2, 2, 1]
    assert scheduler.max_batch_size == 2


def executor_of(
    step: Callable[[list[Clip]], list[str]],
    max_batch_size: int,
    prove: Callable[[], None] = lambda: None,
    settle: Callable[[Any, Any], None] = lambda entry, outcome: None,
    wait: Callable[[float], None] = lambda seconds: None,
) -> tuple[Executor[Clip, str], BatchLimit, Callable[[int], None]]:
    """An executor of these steps, and how to have it run so many batches, each as full as it allows."""
    limit = BatchLimit(max_batch_size)
    executor: Executor[Clip, str] = Executor(
        step,
        prove=prove,
        settle=settle,
        charge=lambda batch, seconds: 0,
        speed=Speed(1),
        watchdog=Watchdog(lambda report: None, time.monotonic),
        tell=lambda report: None,
        clock=time.monotonic,
        limit=limit,
        wait=wait,
    )
    place = FairQueue[Clip]().open("", "interactive")

    def run(batches: int) -> None:
        for _ in range(batches):
            executor.run([Entry(clip, place, Future(), 0.0) for clip in clips("clip", limit.size)])

    return executor, limit, run


def test_a_bad_window_is_told_apart_from_a_device_on_which_nothing_succeeds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    is_lost = False

    def step(batch: list[Clip]) -> list[str]:
        raise RuntimeError("an illegal memory access")

    def prove() -> None:
        if is_lost:
            raise RuntimeError("the device is lost")

    executor, _, run = executor_of(step, 2, prove)
    run(1)
    assert not executor.is_broken, "the window was bad"
    is_lost = True
    run(3)
    assert executor.is_broken
    said = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert len(said) == 1, "once, not for every window"
    is_lost = False
    run(1)
    assert not executor.is_broken


def test_an_idle_worker_looks_again_whether_steps_succeed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who routes by readiness sends nothing that could show it."""
    monkeypatch.setattr(loop, "LOOK_AGAIN_SECONDS", 0.01)
    looked = threading.Semaphore(0)
    is_lost = threading.Event()
    is_lost.set()

    def step(batch: list[Clip]) -> list[str]:
        raise RuntimeError("an illegal memory access")

    def prove() -> None:
        looked.release()
        if is_lost.is_set():
            raise RuntimeError("the device is lost")

    scheduler = Scheduler[Clip, str](step, prove=prove)
    future = scheduler.open().submit(Clip("first"))
    scheduler.start()
    with pytest.raises(RuntimeError, match="illegal"):
        future.result(30)
    for _ in range(3):
        assert looked.acquire(timeout=30)
    assert not scheduler.alive
    is_lost.clear()
    until(lambda: scheduler.alive, "it was seen to be well again")
    scheduler.close()


def test_a_step_that_succeeds_tells_that_the_device_is_well_again() -> None:
    is_lost = True

    def step(batch: list[Clip]) -> list[str]:
        if is_lost:
            raise RuntimeError("the device is lost")
        return ["text"] * len(batch)

    def prove() -> None:
        raise RuntimeError("the device is lost")

    executor, _, run = executor_of(step, 1, prove)
    run(1)
    assert executor.is_broken
    is_lost = False
    run(1)
    assert not executor.is_broken


def test_the_look_whether_steps_succeed_is_watched_as_a_step_is() -> None:
    """A device that hangs does it there too."""
    seen = list[tuple[str, ...]]()

    def step(batch: list[Clip]) -> list[str]:
        raise RuntimeError("an illegal memory access")

    def prove() -> None:
        seen.append(executor._watchdog.stalled)

    executor, _, run = executor_of(step, 1, prove)
    executor._watchdog.stall_floor_seconds = -1.0
    run(1)
    assert seen == [("a trial",)]


def test_of_a_step_that_failed_no_speed_is_learned() -> None:
    """It may have failed at once, or have waited long for memory."""

    def step(batch: list[Clip]) -> list[str]:
        raise RuntimeError("bad")

    executor, _, run = executor_of(step, 1)
    run(1)
    assert executor._speed.expected_step_seconds(1) is None


def test_a_batch_of_heavy_windows_counts_as_the_usual_ones_that_it_stands_for() -> None:
    """Else one request with many hypotheses would make batches small, and no such batch large again."""
    is_small = True

    def step(batch: list[Clip]) -> list[str]:
        if is_small and len(batch) > 1:
            raise BatchTooLarge
        return ["text"] * len(batch)

    executor, limit, _ = executor_of(step, 16)
    place = FairQueue[Clip]().open("", "interactive")

    def run(windows: int) -> None:
        batch = [Clip(str(n), weight=4) for n in range(windows)]
        executor.run([Entry(clip, place, Future(), 0.0) for clip in batch])

    run(2)
    assert limit.size == 4, "two are as many as eight"
    is_small = False
    for _ in range(GOOD_STEPS):
        run(1)
    assert limit.size == 5


def test_larger_batches_are_tried_again_ever_more_rarely_where_they_fail() -> None:
    """One request with many hypotheses must not make all later ones slow."""
    is_small, failures = True, 0

    def step(batch: list[Clip]) -> list[str]:
        nonlocal failures
        if is_small and len(batch) > 2:
            failures += 1
            raise BatchTooLarge
        return ["text"] * len(batch)

    _, limit, run = executor_of(step, 4)
    run(1)
    assert limit.size == 2
    run(2000)
    assert failures < 10, "2000 batches, and only a few were too large"
    is_small = False
    run(10000)
    assert limit.size == 4


def test_a_larger_batch_that_fails_leaves_the_size_that_went_well() -> None:
    sizes = []

    def step(batch: list[Clip]) -> list[str]:
        if len(batch) > 8:
            raise BatchTooLarge
        sizes.append(len(batch))
        return ["text"] * len(batch)

    _, limit, run = executor_of(step, 16)
    run(1000)
    assert limit.size in (8, 9)
    assert sizes.count(8) > 950


def test_a_trial_that_went_well_for_one_worker_and_not_for_the_other_costs_one_window() -> None:
    limit = BatchLimit(8)
    limit.was_too_large(8)
    for _ in range(GOOD_STEPS):
        limit.went_well(4)
    assert limit.size == 5
    limit.went_well(5)
    limit.was_too_large(5)
    assert limit.size == 4
    for _ in range(2 * GOOD_STEPS):
        limit.went_well(4)
    for _ in range(2 * GOOD_STEPS):
        limit.went_well(5)
    assert limit.size == 6
    limit.was_too_large(5)
    assert limit.size == 2


def test_a_batch_of_another_worker_that_was_taken_before_does_not_make_batches_larger_again() -> (
    None
):
    limit = BatchLimit(8)
    for windows in (8, 4, 8):
        limit.was_too_large(windows)
    assert limit.size == 2


def test_batches_that_were_not_full_say_nothing_of_larger_ones() -> None:
    limit = BatchLimit(8)
    limit.was_too_large(8)
    for _ in range(GOOD_STEPS):
        limit.went_well(3)
    assert limit.size == 4


def test_behind_a_trial_that_failed_what_went_well_before_is_halved_where_it_fails_too() -> None:
    limit = BatchLimit(8)
    limit.was_too_large(8)
    for _ in range(GOOD_STEPS):
        limit.went_well(4)
    for windows in (5, 4):
        limit.was_too_large(windows)
    assert limit.size == 2


def test_a_window_without_memory_is_tried_again_before_it_is_given_up() -> None:
    """Another model's step, or another process, may have had it all."""
    left, waited, settled = [2], list[float](), list[Any]()

    def step(batch: list[Clip]) -> list[str]:
        left[0] -= 1
        if left[0] >= 0:
            raise BatchTooLarge
        return ["text"]

    *_, run = executor_of(
        step, 1, settle=lambda entry, outcome: settled.append(outcome), wait=waited.append
    )
    run(1)
    assert (settled, waited) == (["text"], [*PAUSES])
    left[0] = 9
    run(1)
    assert isinstance(settled[1], BatchTooLarge)
    assert (left[0], waited) == (6, [*PAUSES] * 2)


def test_a_batch_for_which_there_is_no_memory_waits_no_longer_than_one_window() -> None:
    waited, settled = list[float](), list[Any]()

    def step(batch: list[Clip]) -> list[str]:
        raise BatchTooLarge

    *_, run = executor_of(
        step, 16, settle=lambda entry, outcome: settled.append(outcome), wait=waited.append
    )
    run(1)
    assert len(settled) == 16
    assert waited == [*PAUSES]


def test_one_moment_without_memory_does_not_make_batches_small_for_days() -> None:
    """Another process had it all: even two windows were too many, and from then on sixteen are not."""
    is_full = True

    def step(batch: list[Clip]) -> list[str]:
        if is_full and len(batch) > 1:
            raise BatchTooLarge
        return ["text"] * len(batch)

    _, limit, run = executor_of(step, 16)
    run(1)
    assert limit.size == 1
    for _ in range(3):  # a later moment is not held against it either
        is_full = False
        run(16 * GOOD_STEPS)
        assert limit.size == 16
        is_full = True
        run(1)


def test_what_a_batch_out_of_memory_held_is_free_when_its_halves_run() -> None:
    class Encoded:
        """Stands for memory of the device."""

    left: list[weakref.ref[Encoded]] = []
    still_held = []

    def step(batch: list[Clip]) -> list[str]:
        still_held.append(sum(held() is not None for held in left))
        encoded = Encoded()
        left.append(weakref.ref(encoded))
        if len(batch) > 1:
            raise BatchTooLarge
        return ["text"]

    scheduler = Scheduler[Clip, str](step, max_batch_size=8)
    futures = [scheduler.open().submit(Clip(str(n))) for n in range(8)]
    scheduler.start()
    assert [future.result(30) for future in futures] == ["text"] * 8
    scheduler.close()
    assert len(left) > 8
    assert not any(still_held)
