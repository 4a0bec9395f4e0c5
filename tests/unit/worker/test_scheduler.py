"""The scheduler: who is next, what shares a batch, and that nobody is lost whatever happens."""

import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import until
from worker.decoding.attempt import Attempt, Recipe
from worker.errors import Overloaded
from worker.scheduler import (
    Arrival,
    BatchTooLarge,
    Report,
    Scheduler,
    SchedulerDied,
    StallReport,
    StepReport,
    loop,
)
from worker.scheduler.batch_limit import GOOD_STEPS, BatchLimit
from worker.scheduler.executor import PAUSES, Executor
from worker.scheduler.queue import AGEING_SECONDS, Entry, FairQueue, Place, Priority
from worker.scheduler.speed import CURRENT_SECONDS, Speed
from worker.scheduler.watchdog import Watchdog


@dataclass(frozen=True)
class Clip:
    name: str
    audio_seconds: float = 10.0
    key: str = "same"
    is_whole: bool = True
    is_apart: bool = False
    share: float = 1.0

    @property
    def description(self) -> str:
        return self.name


def push(
    queue: FairQueue[Clip], place: Place[Clip], *clips: Clip, now: float = 0.0, urgent: bool = False
) -> None:
    for clip in clips:
        queue.push(Entry(clip, place, Future(), now), now, urgent=urgent)


def order(queue: FairQueue[Clip], *, now: float = 0.0, size: int = 1) -> list[list[str]]:
    batches = []
    while batch := queue.take(now, size):
        batches.append([entry.job.name for entry in batch])
    return batches


def clips(prefix: str, count: int, seconds: float = 10.0, key: str = "same") -> list[Clip]:
    return [Clip(f"{prefix}{n}", seconds, key) for n in range(count)]


# --- the order ----------------------------------------------------------------------------------


def test_a_file_whose_windows_go_one_after_the_other_gets_its_half_of_the_machine() -> None:
    """Its next window comes only after another tenant's has been taken: it has not been idle."""
    queue, served = FairQueue[Clip](), Counter[str]()
    alone = queue.open("a", "interactive")
    others = [queue.open("b", "interactive") for _ in range(3)]
    push(queue, alone, Clip("a", 30.0))
    for place in others:
        push(queue, place, *[Clip("b", 30.0)] * 2)
    is_due = False
    for _ in range(300):
        [taken] = queue.take(0.0, 1)
        served[taken.job.name] += 1
        if is_due:
            push(queue, alone, Clip("a", 30.0))
        is_due = taken.place is alone
        if not is_due:
            push(queue, taken.place, Clip("b", 30.0))
    assert served["a"] >= 135


def test_a_short_clip_passes_between_the_windows_of_a_long_file() -> None:
    queue = FairQueue[Clip]()
    push(queue, queue.open("", "interactive"), *clips("long", 4, 30.0))
    assert [entry.job.name for entry in queue.take(0.0, 1)] == ["long0"]
    push(queue, queue.open("", "interactive"), Clip("short", 3.0))
    assert order(queue) == [["short"], ["long1"], ["long2"], ["long3"]]


def test_tenants_take_turns_however_many_requests_each_has() -> None:
    queue = FairQueue[Clip]()
    for n in range(3):
        push(queue, queue.open("busy", "interactive"), *clips(f"busy{n}.", 2))
    push(queue, queue.open("modest", "interactive"), *clips("modest", 3))
    assert [batch[0][:4] for batch in order(queue)][:6] == ["busy", "mode"] * 3


def test_many_short_clips_do_not_starve_a_long_file_of_the_same_tenant() -> None:
    queue = FairQueue[Clip]()
    push(queue, queue.open("", "interactive"), *clips("long", 9, 30.0))
    served = []
    for n in range(40):
        push(queue, queue.open("", "interactive"), Clip(f"clip{n}", 3.0))
        served += [entry.job.name for entry in queue.take(0.0, 1)]
    assert [n for n, name in enumerate(served) if name.startswith("long")] == [9, 31]


def test_live_goes_before_interactive_and_interactive_before_bulk() -> None:
    queue = FairQueue[Clip]()
    classes: list[Priority] = ["bulk", "interactive", "live"]
    for priority in classes:
        push(queue, queue.open("", priority), Clip(priority))
    assert order(queue) == [["live"], ["interactive"], ["bulk"]]


@pytest.mark.parametrize("tenant", ["live", "other"])
def test_bulk_behind_an_endless_stream_of_live_clips_is_served_once_a_minute(tenant: str) -> None:
    """Each of its windows ages by two classes in 2 x 30 s, and then takes its fair turn."""
    queue = FairQueue[Clip]()
    push(queue, queue.open(tenant, "bulk"), *clips("bulk", 3, 30.0))
    live = queue.open("live", "live")
    served = {}
    for second in range(200):
        push(queue, live, Clip(f"live{second}", 1.0), now=float(second))
        [entry] = queue.take(float(second), 1)
        served[entry.job.name] = second
    assert [when for name, when in served.items() if name.startswith("bulk")] == [60, 120, 180]


def test_many_files_of_a_lower_class_together_go_before_live_work_once_a_minute() -> None:
    queue = FairQueue[Clip]()
    for n in range(40):
        push(queue, queue.open("", "bulk"), *clips(f"bulk{n}.", 2, 30.0))
    live = queue.open("", "live")
    served = []
    for second in range(200):
        push(queue, live, Clip("live"), now=float(second))
        served += [entry.job.name[:4] for entry in queue.take(float(second), 1)]
    assert served.count("bulk") == 3


def test_to_fill_up_batches_of_another_class_is_no_turn() -> None:
    """Else what fits into no such batch would wait for ever."""
    queue = FairQueue[Clip]()
    push(queue, queue.open("", "bulk"), *(Clip(f"fits{n}", key="x") for n in range(400)))
    push(queue, queue.open("", "bulk"), Clip("other", key="y"))
    live, served = queue.open("", "live"), dict[str, int]()
    for second in range(100):
        push(queue, live, Clip(f"live{second}", key="x"), now=float(second))
        served |= {entry.job.name: second for entry in queue.take(float(second), 4)}
    assert served["other"] <= 2 * AGEING_SECONDS + 1


def test_interactive_work_goes_before_younger_live_work_after_half_a_minute() -> None:
    queue = FairQueue[Clip]()
    push(queue, queue.open("a", "interactive"), Clip("waits"), now=0.0)
    push(queue, queue.open("b", "live"), *clips("live", 2), now=AGEING_SECONDS - 1)
    assert [entry.job.name for entry in queue.take(AGEING_SECONDS - 1, 1)] == ["live0"]
    assert order(queue, now=AGEING_SECONDS) == [["waits"], ["live1"]]


def test_files_that_have_waited_long_do_not_go_before_a_clip_of_their_own_class() -> None:
    queue = FairQueue[Clip]()
    for n in range(8):
        push(queue, queue.open("busy", "interactive"), *clips(f"long{n}.", 2, 30.0), now=0.0)
    assert [entry.job.name for entry in queue.take(0.0, 1)] == ["long0.0"]
    later = 2 * AGEING_SECONDS
    push(queue, queue.open("other", "interactive"), Clip("clip", 3.0), now=later)
    assert [entry.job.name for entry in queue.take(later, 1)] == ["clip"]


def test_a_tenant_that_comes_back_stands_where_a_new_one_would() -> None:
    queue = FairQueue[Clip]()
    stays = queue.open("stays", "interactive")
    push(queue, stays, *clips("stays", 3))
    gone = queue.open("leaves", "interactive")
    push(queue, gone, *clips("gone", 2))
    assert order(queue)[:2] == [["stays0"], ["gone0"]]
    assert queue.close(gone) == []
    push(queue, stays, *clips("more", 1))
    for name in ("leaves", "new"):
        push(queue, queue.open(name, "interactive"), *clips(name, 2))
    names = [name for [name] in order(queue)]
    assert names == ["leaves0", "new0", "more0", "leaves1", "new1"]
    assert {tenant for tenant, _ in queue._accounts} == {"stays", "leaves", "new"}
    queue.close(stays)
    assert {tenant for tenant, _ in queue._accounts} == {"leaves", "new"}


def test_bulk_work_that_waits_earns_no_credit_for_interactive_work() -> None:
    queue = FairQueue[Clip]()
    push(queue, queue.open("patient", "bulk"), *clips("bulk", 3, 30.0))
    busy = queue.open("busy", "interactive")
    for second in range(20):
        push(queue, busy, Clip("busy", 30.0), now=float(second))
        assert [entry.job.name for entry in queue.take(float(second), 1)] == ["busy"]
    push(queue, busy, *clips("busy", 3, 30.0), now=20.0)
    push(queue, queue.open("patient", "interactive"), *clips("patient", 3, 30.0), now=20.0)
    names = [entry.job.name[:-1] for _ in range(6) for entry in queue.take(20.0, 1)]
    assert names[:4] in (["busy", "patient"] * 2, ["patient", "busy"] * 2)


@pytest.mark.parametrize("tenants", ["bca", "\0\0\0"])
def test_bulk_work_that_waited_has_no_credit_against_bulk_work_that_comes_later(
    tenants: str,
) -> None:
    queue = FairQueue[Clip]()
    push(queue, queue.open(tenants[0], "bulk"), *clips("early", 300, 30.0))
    live = queue.open(tenants[2], "live")
    for second in range(300):
        push(queue, live, Clip("live", 30.0), now=float(second))
        queue.take(float(second), 1)
    queue.close(live)
    push(queue, queue.open(tenants[1], "bulk"), *clips("late", 9, 30.0), now=300.0)
    names = [entry.job.name for second in range(4) for entry in queue.take(300.0 + second, 1)]
    assert sum(name.startswith("late") for name in names) == 2


def test_a_live_clip_does_not_put_its_tenants_bulk_work_behind_that_of_others() -> None:
    queue = FairQueue[Clip]()
    for tenant in "ab":
        push(queue, queue.open(tenant, "bulk"), *clips(tenant, 40, 30.0))
    busy = queue.open("c", "live")
    for second in range(25):
        push(queue, busy, Clip("live", 30.0), now=float(second))
        queue.take(float(second), 1)
    push(queue, queue.open("a", "live"), Clip("live", 1.0), now=25.0)
    names = [entry.job.name[0] for _ in range(7) for entry in queue.take(25.0, 1)]
    assert names[0] == "l"
    assert sorted(names[1:]) == ["a"] * 3 + ["b"] * 3


@pytest.mark.parametrize("size", [2, 4])
def test_what_fits_no_batch_of_others_is_not_starved_by_what_does(size: int) -> None:
    queue = FairQueue[Clip]()
    files = [("a", "x"), ("a", "y"), ("b", "x")]
    places = [queue.open(tenant, "interactive") for tenant, _ in files]
    served = dict.fromkeys("012", 0.0)
    gaps, last = dict.fromkeys("012", 0), dict.fromkeys("012", 0)
    for batch in range(200):
        for number, (place, (_, key)) in enumerate(zip(places, files, strict=True)):
            missing = 8 - len(place.entries)
            push(queue, place, *(Clip(f"{number}", 30.0, key) for _ in range(missing)))
        for entry in queue.take(0.0, size):
            name = entry.job.name
            served[name] += entry.job.audio_seconds
            gaps[name], last[name] = max(gaps[name], batch - last[name]), batch
    assert max(gaps.values()) <= 6
    assert served["1"] > 0.8 * served["0"]
    assert served["2"] > 0.8 * (served["0"] + served["1"])


@pytest.mark.parametrize(("size", "keys"), [(16, "xy"), (16, "xyz"), (4, "xyz")])
def test_requests_of_one_tenant_that_share_no_batch_fill_their_own(size: int, keys: str) -> None:
    queue = FairQueue[Clip]()
    places = [(key, queue.open("", "interactive")) for key in keys]
    sizes = []
    for _ in range(40):
        for key, place in places:
            push(queue, place, *clips(key, 2 * size - len(place.entries), 28.0, key))
        sizes.append(len(queue.take(0.0, size)))
    slow_start = 5 * len(keys)
    assert set(sizes[slow_start:]) == {size}


@pytest.mark.parametrize(("lower", "higher"), [("interactive", "live"), ("bulk", "interactive")])
def test_where_steps_take_longer_than_ageing_classes_take_turns(
    lower: Priority, higher: Priority
) -> None:
    queue = FairQueue[Clip]()
    push(queue, queue.open("", lower), *clips("low", 40, 30.0))
    served = []
    for turn in range(20):
        push(queue, queue.open("", higher), Clip("high", 3.0), now=70.0 * turn)
        served += [entry.job.name[:3] for entry in queue.take(70.0 * turn + 69.0, 1)]
    assert 8 <= served.count("hig") <= 12


def test_a_file_gets_one_two_four_and_eight_windows_into_its_batches() -> None:
    queue = FairQueue[Clip]()
    push(queue, queue.open("", "bulk"), *clips("w", 20))
    assert [len(batch) for batch in order(queue, size=8)] == [1, 2, 4, 8, 5]


def test_windows_of_different_requests_fill_one_batch() -> None:
    queue = FairQueue[Clip]()
    for name in ("a", "b", "c"):
        push(queue, queue.open("", "interactive"), *clips(name, 2))
    assert order(queue, size=4) == [["a0", "b0", "c0"], ["a1", "b1", "c1"]]


def test_windows_that_are_not_compatible_never_share_a_batch() -> None:
    queue = FairQueue[Clip]()
    push(queue, queue.open("", "interactive"), Clip("a", key="x"))
    push(queue, queue.open("", "interactive"), Clip("b", key="y"))
    push(queue, queue.open("", "interactive"), Clip("c", key="x"))
    assert order(queue, size=8) == [["a", "c"], ["b"]]


def test_an_urgent_attempt_goes_before_the_other_windows_of_its_request() -> None:
    queue = FairQueue[Clip]()
    place = queue.open("", "interactive")
    push(queue, place, *clips("w", 2))
    push(queue, place, Clip("again"), urgent=True)
    assert order(queue) == [["again"], ["w0"], ["w1"]]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.lists(st.floats(0.1, 30.0), min_size=1, max_size=6),
            st.sampled_from(["x", "y"]),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 8),
)
def test_every_window_is_taken_exactly_once_and_in_the_order_of_its_request(
    requests: list[tuple[str, list[float], str]], size: int
) -> None:
    queue = FairQueue[Clip]()
    for number, (tenant, costs, key) in enumerate(requests):
        place = queue.open(tenant, "interactive")
        push(queue, place, *[Clip(f"{number}.{n}", c, key) for n, c in enumerate(costs)])
    taken = [name for batch in order(queue, size=size) for name in batch]
    assert len(queue) == 0
    for number, (_, costs, _) in enumerate(requests):
        own = [name for name in taken if name.startswith(f"{number}.")]
        assert own == [f"{number}.{n}" for n in range(len(costs))]


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("xy"), st.floats(5.0, 30.0)), min_size=1, max_size=3),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 8),
)
def test_requests_of_a_tenant_are_served_alike_whatever_fits_the_batches_of_others(
    tenants: list[list[tuple[str, float]]], size: int
) -> None:
    """Files without an end, of windows of any length and two kinds that share no batch."""
    queue = FairQueue[Clip]()
    files = [
        (f"{tenant}.{n}", key, cost, queue.open(str(tenant), "interactive"))
        for tenant, own in enumerate(tenants)
        for n, (key, cost) in enumerate(own)
    ]
    served = dict.fromkeys((name for name, *_ in files), 0.0)
    for _ in range(60):
        for name, key, cost, place in files:
            push(queue, place, *(Clip(name, cost, key) for _ in range(16 - len(place.entries))))
        for entry in queue.take(0.0, size):
            served[entry.job.name] += entry.job.audio_seconds
    for tenant, own in enumerate(tenants):
        audio = [served[f"{tenant}.{n}"] for n in range(len(own))]
        assert max(audio) - min(audio) <= (size + 3) * 30.0


@given(
    st.lists(st.lists(st.floats(0.5, 30.0), min_size=20, max_size=20), min_size=2, max_size=5),
    st.integers(1, 19),
)
def test_tenants_that_all_have_work_never_differ_by_more_than_two_windows(
    costs: list[list[float]], rounds: int
) -> None:
    queue = FairQueue[Clip]()
    for tenant, own in enumerate(costs):
        place = queue.open(str(tenant), "interactive")
        push(queue, place, *[Clip(f"{tenant}", cost) for cost in own])
    served = dict.fromkeys((str(n) for n in range(len(costs))), 0.0)
    for _ in range(rounds):
        for entry in queue.take(0.0, 1):
            served[entry.job.name] += entry.job.audio_seconds
    assert max(served.values()) - min(served.values()) <= 2 * 30.0


# --- the threads --------------------------------------------------------------------------------


class Engine:
    """A step under the test's control: it can be held, and fails on request."""

    def __init__(self, fail: Callable[[list[Clip]], Exception | None] = lambda batch: None) -> None:
        self.batches: list[list[str]] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self._fail = fail

    def step(self, batch: list[Clip]) -> Sequence[str]:
        self.batches.append([clip.name for clip in batch])
        self.entered.release()
        assert self.gate.wait(30)
        if (error := self._fail(batch)) is not None:
            raise error
        return [f"text of {clip.name}" for clip in batch]


def running(
    engine: Engine,
    *,
    workers: int = 1,
    max_batch_size: int = 4,
    max_requests: int = 64,
    max_queue_seconds: float = 1e9,
    hooks: Sequence[Callable[[Report], None]] = (),
    clock: Callable[[], float] = lambda: 0.0,
) -> Scheduler[Clip, str]:
    scheduler = Scheduler[Clip, str](
        engine.step,
        workers=workers,
        max_batch_size=max_batch_size,
        max_requests=max_requests,
        max_queue_seconds=max_queue_seconds,
        hooks=hooks,
        clock=clock,
    )
    scheduler.start()
    return scheduler


def test_a_lone_window_runs_at_once_and_backlog_becomes_a_batch() -> None:
    engine = Engine()
    scheduler = running(engine)
    engine.gate.clear()
    first = scheduler.open().submit(Clip("first"))
    engine.entered.acquire()
    others = [scheduler.open().submit(Clip(f"other{n}")) for n in range(5)]
    engine.gate.set()
    assert [future.result(30) for future in [first, *others]] == [
        "text of first",
        *(f"text of other{n}" for n in range(5)),
    ]
    scheduler.close()
    assert [len(batch) for batch in engine.batches] == [1, 4, 1]


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


def test_closing_a_lane_drops_its_windows_and_frees_its_place() -> None:
    engine = Engine()
    scheduler = running(engine, max_batch_size=1)
    engine.gate.clear()
    runs = scheduler.open().submit(Clip("runs"))
    engine.entered.acquire()
    lane = scheduler.open(Arrival(seconds=20.0))
    dropped = [lane.submit(Clip(f"dropped{n}")) for n in range(2)]
    assert (scheduler.load.waiting_requests, scheduler.load.backlog_seconds) == (1, 30.0)
    lane.close()
    assert (scheduler.load.waiting_requests, scheduler.load.backlog_seconds) == (0, 10.0)
    engine.gate.set()
    assert runs.result(30) == "text of runs"
    for future in dropped:
        with pytest.raises(CancelledError):
            future.result(30)
    scheduler.close()
    assert engine.batches == [["runs"]]


def test_the_window_in_flight_of_a_closed_lane_ends_and_is_ignored() -> None:
    engine = Engine()
    scheduler = running(engine)
    engine.gate.clear()
    lane = scheduler.open()
    lane.submit(Clip("mine"))
    engine.entered.acquire()
    lane.close()
    engine.gate.set()
    assert scheduler.open().submit(Clip("next")).result(30) == "text of next"
    scheduler.close()


def test_many_long_files_prepare_together_no_more_than_two_rounds_of_batches() -> None:
    engine = Engine()
    scheduler = running(engine, max_batch_size=4)
    engine.gate.clear()
    lane = scheduler.open()
    assert lane.look_ahead == 2, "a file starts slowly"
    lane.place.batches = 9
    assert lane.look_ahead == 5, "the next batch, and one that is read meanwhile"
    futures = [lane.submit(Clip("mine"))]
    futures += [scheduler.open().submit(Clip(f"other{n}")) for n in range(2)]
    assert lane.look_ahead == 3
    futures += [scheduler.open().submit(Clip(f"further{n}")) for n in range(20)]
    assert lane.look_ahead == 2
    engine.gate.set()
    for future in futures:
        future.result(30)
    assert lane.look_ahead == 5
    scheduler.close()


def test_the_queue_is_bounded_in_requests_and_in_audio_seconds() -> None:
    reports: list[Report] = []
    engine = Engine()
    scheduler = running(engine, max_requests=2, max_queue_seconds=100.0, hooks=[reports.append])
    lane = scheduler.open(Arrival(seconds=60.0))
    with pytest.raises(Overloaded):
        scheduler.open(Arrival(seconds=50.0))
    scheduler.open(Arrival(seconds=40.0))
    with pytest.raises(Overloaded):
        scheduler.open()
    assert [getattr(report, "reason", None) for report in reports] == ["audio_seconds", "requests"]
    lane.close()
    scheduler.open(Arrival(seconds=50.0))
    scheduler.close()


def test_a_tenant_with_nothing_open_finds_room_when_others_have_filled_the_queue() -> None:
    scheduler = standing(15.0, max_requests=2)
    scheduler.open(Arrival(tenant="loud")).submit(Clip("waits", 20.0))
    for tenant in ("loud", "first", "second"):
        scheduler.open(Arrival(tenant=tenant)).submit(Clip("waits", 20.0))
        with pytest.raises(Overloaded, match="queue is full"):
            scheduler.check(Arrival(tenant=tenant))
    with pytest.raises(Overloaded, match="queue is full"):
        scheduler.check(Arrival(tenant="third"))


def test_audio_of_others_leaves_room_for_as_much_of_a_tenant_with_nothing_open() -> None:
    scheduler = standing(15.0, max_queue_seconds=100.0)
    scheduler.open(Arrival(tenant="loud", seconds=90.0))
    with pytest.raises(Overloaded, match="queue is full"):
        scheduler.check(Arrival(tenant="loud", seconds=20.0))
    scheduler.check(Arrival(tenant="other", seconds=110.0))
    with pytest.raises(Overloaded, match="queue is full"):
        scheduler.check(Arrival(tenant="other", seconds=111.0))


def test_a_single_request_is_admitted_however_long_it_is() -> None:
    scheduler = running(Engine(), max_queue_seconds=100.0)
    assert scheduler.open(Arrival(seconds=10_000.0)).remaining_seconds == 10_000.0
    scheduler.close()


def test_a_step_costs_by_the_window_however_short_the_clips_were() -> None:
    speed = Speed()
    for _ in range(12):
        speed.observe(windows=1, seconds=2.0, now=0.0)
    assert speed.predicted_alone(600.0) == 40.0
    assert speed.predicted_alone(2.0) == 2.0


def test_one_step_in_which_the_machine_slept_counts_little() -> None:
    speed = Speed()
    speed.observe(windows=1, seconds=5.0, now=0.0)
    speed.observe(windows=1, seconds=120.0, now=120.0)
    assert speed.predicted_alone(20.0) == 8.0


def test_an_idle_worker_refuses_nobody_for_what_it_measured_long_ago() -> None:
    """The machine may have been busy then, and nothing would ever show that it is not any more."""
    now = [0.0]
    scheduler = Scheduler[Clip, str](Engine().step, clock=lambda: now[0])
    scheduler.learn(100.0)
    late = Arrival(seconds=20.0, deadline=20.0)
    with pytest.raises(Overloaded, match="cannot be met"):
        scheduler.check(late)
    now[0] = CURRENT_SECONDS
    with pytest.raises(Overloaded, match="cannot be met"):
        scheduler.check(replace(late, age=21.0))
    scheduler.open(late)
    with pytest.raises(Overloaded, match="cannot be met"):
        scheduler.check(late)


def test_a_file_alone_takes_as_many_rounds_as_its_windows_make_with_all_workers() -> None:
    speed = Speed(workers=2)
    speed.observe(windows=1, seconds=1.0, now=0.0)
    assert speed.predicted_alone(600.0) == 10.0
    assert speed.predicted_alone(70.0) == 2.0
    assert speed.predicted_alone(2.0) == 1.0
    assert speed.predicted_alone(600.0, in_turn=True) == 20.0


def test_windows_that_are_encoded_short_say_how_long_full_ones_take_and_the_other_way_round() -> (
    None
):
    now = [0.0]

    def step(batch: list[Clip]) -> list[str]:
        now[0] += 3.0 * sum(clip.share for clip in batch)
        return ["text"] * len(batch)

    for share in (1 / 3, 1.0):
        scheduler = Scheduler[Clip, str](step, clock=lambda: now[0])
        scheduler.open().submit(Clip("clip", share=share))
        batch = scheduler._wait_for_batch()
        assert batch is not None
        scheduler._executor.run(batch)
        assert scheduler.speed.predicted_alone(60.0) == pytest.approx(6.0)
        scheduler.check(Arrival(seconds=5.0, deadline=1.1, share=1 / 3))
        with pytest.raises(Overloaded, match="cannot be met"):
            scheduler.check(Arrival(seconds=5.0, deadline=1.1))


def test_the_speed_follows_the_last_steps_and_is_shared_by_the_workers() -> None:
    speed = Speed(workers=2)
    assert (speed.expected_step_seconds(4), speed.predicted_seconds(4)) == (None, 0.0)
    speed.observe(windows=4, seconds=8.0, now=0.0)
    speed.observe(windows=1, seconds=7.0, now=0.0)
    assert speed.expected_step_seconds(4) == 12.0
    assert speed.predicted_seconds(4) == 6.0


def test_the_speed_is_not_learned_from_steps_that_are_only_a_part_of_a_windows_work() -> None:
    now = [0.0]
    seconds = {"decode": 3.0, "hear": 0.5}

    def step(batch: list[Clip]) -> list[str]:
        now[0] += sum(seconds[clip.name] for clip in batch)
        return ["text" for _ in batch]

    scheduler = Scheduler[Clip, str](step, clock=lambda: now[0])
    scheduler.start()
    lane = scheduler.open()
    for clip in (Clip("decode"), Clip("hear", is_whole=False), Clip("hear", is_whole=False)):
        assert lane.submit(clip).result(30) == "text"
    scheduler.close()
    assert scheduler.speed.expected_step_seconds(1) == 3.0


@pytest.mark.parametrize(
    "further", [Clip("hear", is_whole=False), Clip("again"), Clip("words", is_whole=False)]
)
def test_predictions_count_the_further_steps_that_windows_have_needed(further: Clip) -> None:
    now = [0.0]

    def step(batch: list[Clip]) -> list[str]:
        now[0] += 2.0 if batch[0].name == "first" else 3.0
        return ["text" for _ in batch]

    scheduler = Scheduler[Clip, str](step, clock=lambda: now[0])
    scheduler.start()
    lane = scheduler.open()
    for _ in range(60):
        for clip in (Clip("first"), further):
            lane.submit(clip, urgent=clip.name == "again").result(30)
    scheduler.close()
    assert scheduler.speed.expected_step_seconds(1) == 2.0
    assert round(scheduler.speed.predicted_seconds(1), 3) == 5.0
    assert round(scheduler.speed.predicted_alone(60.0), 3) == 10.0


def test_windows_of_which_no_text_is_made_say_nothing_of_those_that_are_decoded() -> None:
    now = [0.0]

    def step(batch: list[Clip]) -> list[str]:
        now[0] += 2.0
        return ["text" for _ in batch]

    scheduler = Scheduler[Clip, str](step, clock=lambda: now[0])
    scheduler.start()
    lane = scheduler.open()
    for clip in [
        Clip("decode"),
        *[Clip("hear", is_whole=False, is_apart=True)] * 50,
        Clip("decode"),
    ]:
        lane.submit(clip).result(30)
    scheduler.close()
    assert scheduler.speed.predicted_seconds(1) == 2.0


def standing(window_seconds: float, **bounds: int) -> Scheduler[Clip, str]:
    """A scheduler that was not started, so that it stands still; a window takes so long."""
    scheduler = Scheduler[Clip, str](Engine().step, clock=lambda: 0.0, **bounds)
    scheduler.learn(window_seconds)
    return scheduler


def test_retry_after_and_predicted_start_come_from_measured_speed() -> None:
    waiting = standing(15.0, max_requests=2)
    for _ in range(2):
        waiting.open().submit(Clip("waits", 20.0))
    assert waiting.predicted_start_seconds() == 30.0
    with pytest.raises(Overloaded) as caught:
        waiting.check(Arrival())
    assert caught.value.retry_after == 15.0


def test_files_that_wait_for_their_next_window_count_as_those_that_wait_for_their_first() -> None:
    scheduler = standing(3.0, max_requests=2)
    for _ in range(2):
        lane = scheduler.open(Arrival(seconds=120.0))
        for name in ("first", "second"):
            lane.submit(Clip(name, 30.0, is_whole=False))
    assert scheduler.load.waiting_requests == 2
    told = []
    for _ in range(2):
        batch = scheduler._wait_for_batch()
        assert batch is not None
        scheduler.check(Arrival())
        told.append(scheduler.load.waiting_requests)
        scheduler._executor.run(batch)
        told.append(scheduler.load.waiting_requests)
        if told[-1]:
            with pytest.raises(Overloaded, match="queue is full") as full:
                scheduler.check(Arrival())
            assert full.value.retry_after == 15.0, "two take turns until one has had its third"
    assert told == [0, 2, 0, 0]


def test_a_deadline_that_cannot_be_met_is_refused_at_once() -> None:
    scheduler = standing(5.0)
    scheduler.check(Arrival(seconds=100.0, deadline=20.0))
    scheduler.open(Arrival(seconds=60.0))
    with pytest.raises(Overloaded, match=r"deadline of 20 s cannot be met; 30\.0 s") as busy:
        scheduler.check(Arrival(seconds=100.0, deadline=20.0))
    assert (busy.value.param, busy.value.retryable, busy.value.retry_after) == (
        "deadline",
        None,
        10.0,
    )
    with pytest.raises(Overloaded) as never:
        scheduler.check(Arrival(seconds=130.0, deadline=20.0))
    assert never.value.retryable is False


def test_requests_that_read_their_files_are_bounded_too_although_none_waits() -> None:
    scheduler = standing(3.0, max_requests=2, max_batch_size=3)
    for _ in range(5):
        scheduler.check(Arrival())
        scheduler.open(Arrival(seconds=60.0)).started = True
    assert scheduler.load.waiting_requests == 0
    with pytest.raises(Overloaded, match="queue is full") as full:
        scheduler.check(Arrival())
    assert full.value.retry_after == 18.0, "five take turns until one has had its second"


def test_a_file_longer_than_the_queue_is_told_to_come_when_the_queue_is_empty() -> None:
    scheduler = standing(3.0, max_queue_seconds=100)
    scheduler.open(Arrival(seconds=60.0))
    with pytest.raises(Overloaded, match="queue is full") as full:
        scheduler.check(Arrival(seconds=3600.0))
    assert full.value.retry_after == 6.0


def test_what_was_spent_on_receiving_a_request_is_gone_from_its_deadline() -> None:
    scheduler = standing(2.0)
    scheduler.check(Arrival(seconds=30.0, deadline=10.0, age=8.0))
    with pytest.raises(Overloaded, match=r"deadline of 10 s cannot be met; 11\.0 s") as slow:
        scheduler.check(Arrival(seconds=30.0, deadline=10.0, age=9.0))
    assert slow.value.retryable is False, "it would be as slow again"


def predicted_end(scheduler: Scheduler[Clip, str], **request: Any) -> float:
    """When a request that came now would end, as a refusal tells."""
    with pytest.raises(Overloaded) as caught:
        scheduler.check(Arrival(deadline=1e-9, **request))
    assert caught.value.retry_after is not None
    return round(caught.value.retry_after, 6)


def test_a_clip_waits_for_one_window_of_a_long_file_and_not_for_its_rest() -> None:
    scheduler = standing(3.0)
    scheduler.open(Arrival(seconds=3 * 3600.0)).submit(Clip("long", 30.0))
    scheduler.check(Arrival(seconds=3.0, deadline=60.0))
    assert predicted_end(scheduler, seconds=3.0) == 3.0 + 3.0
    assert predicted_end(scheduler, seconds=90.0) == 9.0 + 9.0
    assert scheduler.predicted_start_seconds() == 3.0


def test_a_long_file_waits_for_all_of_a_short_clip() -> None:
    scheduler = standing(3.0)
    scheduler.open(Arrival(seconds=45.0)).submit(Clip("short", 30.0))
    assert predicted_end(scheduler, seconds=3 * 3600.0) == 2 * 3.0 + 360 * 3.0


def test_a_tenant_waits_for_its_own_requests_and_for_one_turn_of_another_tenant() -> None:
    scheduler = standing(3.0)
    for _ in range(3):
        scheduler.open(Arrival(tenant="busy", seconds=3 * 3600.0)).submit(Clip("long", 30.0))
    assert predicted_end(scheduler, tenant="busy", seconds=3.0) == 3 * 3.0 + 3.0
    assert predicted_end(scheduler, tenant="modest", seconds=3.0) == 1 * 3.0 + 3.0
    assert scheduler.predicted_start_seconds(Arrival(tenant="busy")) == 9.0
    assert scheduler.predicted_start_seconds(Arrival(tenant="modest")) == 3.0


def test_a_step_of_a_lower_class_that_has_begun_is_waited_for() -> None:
    scheduler = standing(3.0)
    lane = scheduler.open(Arrival(priority="bulk", seconds=90.0))
    for number in range(3):
        lane.submit(Clip(f"window {number}", 30.0, is_whole=False))
    assert scheduler.predicted_start_seconds(Arrival(priority="live")) == 0.0
    assert scheduler._wait_for_batch() is not None
    assert scheduler.predicted_start_seconds(Arrival(priority="live")) == 3.0


def test_a_lower_class_is_not_waited_for_and_a_higher_one_until_ageing_helps() -> None:
    scheduler = standing(3.0)
    scheduler.open(Arrival(priority="interactive", seconds=60.0)).submit(Clip("short", 30.0))
    assert predicted_end(scheduler, priority="live", seconds=3.0) == 3.0
    assert predicted_end(scheduler, priority="bulk", seconds=3.0) == 2 * 3.0 + 3.0
    scheduler.open(Arrival(priority="interactive", seconds=3 * 3600.0)).submit(Clip("long", 30.0))
    aged = AGEING_SECONDS + 2 * 3.0
    assert predicted_end(scheduler, priority="bulk", seconds=3.0) == aged + 3.0


def test_a_window_is_counted_once_however_often_it_is_tried() -> None:
    engine = Engine()
    scheduler = running(engine)
    lane = scheduler.open(Arrival(seconds=60.0))
    for urgent in (False, True, True):
        engine.gate.clear()
        future = lane.submit(Clip("window", 30.0), urgent=urgent)
        assert scheduler.load.backlog_seconds == 60.0
        engine.gate.set()
        future.result(30)
        assert scheduler.load.backlog_seconds == 30.0
    scheduler.close()


def test_the_backlog_follows_what_a_request_tells_of_its_file() -> None:
    scheduler = standing(3.0)
    lane = scheduler.open(Arrival(seconds=485.0))
    lane.submit(Clip("window", 30.0))
    assert scheduler.load.backlog_seconds == 485.0
    lane.expect(34.0)
    assert scheduler.load.backlog_seconds == 64.0
    lane.close()
    assert scheduler.load.backlog_seconds == 0.0


def test_a_dead_worker_thread_fails_everybody_who_waits_and_is_seen() -> None:
    engine = Engine(lambda batch: SystemExit("a bug"))  # type: ignore[arg-type, return-value]
    scheduler = running(engine, max_batch_size=1)
    engine.gate.clear()
    runs = scheduler.open().submit(Clip("runs"))
    engine.entered.acquire()
    waits = scheduler.open().submit(Clip("waits"))
    engine.gate.set()
    for future in (runs, waits):
        with pytest.raises(SchedulerDied):
            future.result(30)
    assert not scheduler.alive
    with pytest.raises(Overloaded, match="The model has stopped working"):
        scheduler.open()
    scheduler.close()


def test_what_comes_of_a_batch_after_another_thread_has_died_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    held = threading.Event()

    def fail(batch: list[Clip]) -> Exception | None:
        if batch[0].name == "dies":
            raise SystemExit("a bug")
        assert held.wait(30)
        return None

    engine = Engine(fail)
    scheduler = running(engine, workers=2, max_batch_size=1)
    runs = scheduler.open().submit(Clip("runs"))
    engine.entered.acquire()
    dies = scheduler.open().submit(Clip("dies"))
    for future in (runs, dies):
        with pytest.raises(SchedulerDied):
            future.result(30)
    assert not scheduler.alive
    held.set()
    assert scheduler.close() is True
    deaths = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert len(deaths) == 1, "the other one has not died of it"


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
    hanging = [scheduler.open().submit(Clip("first"))]
    engine.entered.acquire()
    now[0] = 61.0
    assert scheduler.watchdog.stalled == ("first",)
    assert scheduler.open().submit(Clip("served")).result(30) == "text of served"
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


def test_each_step_is_reported_to_the_hooks_and_a_broken_hook_harms_nobody() -> None:
    reports: list[Report] = []

    def broken(report: Report) -> None:
        raise RuntimeError("a bug in a hook")

    scheduler = running(Engine(), hooks=[broken, reports.append])
    assert scheduler.open().submit(Clip("a", 12.0)).result(30) == "text of a"
    scheduler.close()
    assert reports == [
        StepReport(
            batch_size=1,
            requests=1,
            audio_seconds=12.0,
            step_seconds=0.0,
            waited=(0.0,),
            windows_left=0,
            failed=False,
        )
    ]


def test_closing_the_scheduler_tells_those_who_wait() -> None:
    engine = Engine()
    scheduler = running(engine, max_batch_size=1)
    engine.gate.clear()
    lane = scheduler.open()
    runs = lane.submit(Clip("runs"))
    engine.entered.acquire()
    waits = scheduler.open().submit(Clip("waits"))
    closer = threading.Thread(target=scheduler.close)
    closer.start()
    until(lambda: scheduler._closing)
    engine.gate.set()
    closer.join(30)
    assert runs.result(30) == "text of runs"
    for refused in (waits.result, lane.submit(Clip("next")).result, scheduler.check):
        with pytest.raises(Overloaded, match="The service is shutting down"):
            refused()


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


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.booleans(), st.integers(0, 3)), min_size=1, max_size=12
    )
)
def test_no_window_is_lost_or_answered_with_anothers_text(
    requests: list[tuple[int, bool, int]],
) -> None:
    def fail(batch: list[Clip]) -> Exception | None:
        return ValueError() if any("bad" in clip.name for clip in batch) else None

    scheduler = running(Engine(fail))
    futures = []
    for number, (count, leaves, bad) in enumerate(requests):
        lane = scheduler.open()
        for n in range(count):
            name = f"{number}.{n}" + (".bad" if n == bad else "")
            futures.append((name, lane.submit(Clip(name))))
        if leaves:
            lane.close()
    for name, future in futures:
        try:
            assert future.result(30) == f"text of {name}"
        except ValueError:
            assert name.endswith(".bad")
        except CancelledError:
            assert requests[int(name.split(".")[0])][1]
    scheduler.close()


@pytest.mark.parametrize(
    ("kind", "encoded", "expected"),
    [
        ("decode", None, True),
        ("decode", "kept", True),
        ("detect", None, False),
        ("align", 0, False),
    ],
)
def test_only_an_attempt_that_decodes_tells_how_long_a_window_takes(
    kind: Literal["detect", "decode", "align"], encoded: object, expected: bool
) -> None:
    mel = np.zeros((80, 3000), np.float32)
    attempt = Attempt(Recipe(kind, 3000), mel, (), (), 3000, "a window", encoded=encoded)
    assert attempt.is_whole is expected
