"""The scheduler: lanes, threads and hooks, and that nobody is lost whatever happens."""

import threading
from concurrent.futures import CancelledError

import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import until
from scheduling import Clip, Engine, running, standing
from worker.errors import Overloaded
from worker.scheduler import Arrival, Report, SchedulerDied, StepReport


def test_a_lone_window_runs_at_once_and_backlog_becomes_a_batch() -> None:
    reports: list[Report] = []
    engine = Engine()
    scheduler = running(engine, hooks=[reports.append])
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
    assert [getattr(report, "windows_left", None) for report in reports] == [5, 1, 0]


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


def test_a_lane_may_be_closed_twice_and_takes_no_window_any_more() -> None:
    scheduler = running(Engine())
    lane, other = scheduler.open(), scheduler.open()
    lane.close()
    lane.close()
    assert lane.submit(Clip("too late")).cancelled()
    assert other.submit(Clip("next")).result(30) == "text of next"
    scheduler.close()
    other.close()


def test_a_request_has_waited_until_its_first_window_began_and_is_charged_its_share_of_steps() -> (
    None
):
    now = [0.0]
    scheduler = standing(0.0, clock=lambda: now[0])
    lane, other = scheduler.open(), scheduler.open()
    for one in (lane, other, lane):
        one.submit(Clip("window"))
    for began in (5.0, 50.0):
        now[0] = began
        batch = scheduler._wait_for_batch()
        assert batch is not None
        scheduler._charge(batch, 4.0)
    assert (lane.queue_seconds, other.queue_seconds) == (5.0, 5.0)
    assert (lane.inference_seconds, other.inference_seconds) == (6.0, 2.0)


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


def test_a_file_prepares_no_less_because_less_urgent_ones_are_at_work() -> None:
    scheduler = standing(1.0, max_batch_size=16)
    file = scheduler.open()
    file.place.batches = 8
    alone = file.look_ahead
    for _ in range(20):
        scheduler.open(Arrival(priority="bulk")).submit(Clip("bulk", 30.0))
    assert file.look_ahead == alone == 32


def test_many_long_files_prepare_together_no_more_than_two_rounds_of_batches() -> None:
    engine = Engine()
    scheduler = running(engine, max_batch_size=4)
    engine.gate.clear()
    lane = scheduler.open()
    assert lane.look_ahead == 3, "a file starts slowly"
    lane.place.batches = 9
    assert lane.look_ahead == 8, "the batch that runs, and the next one"
    futures = [lane.submit(Clip("mine"))]
    futures += [scheduler.open().submit(Clip(f"other{n}")) for n in range(2)]
    assert lane.look_ahead == 5
    futures += [scheduler.open().submit(Clip(f"further{n}")) for n in range(20)]
    assert lane.look_ahead == 2
    engine.gate.set()
    for future in futures:
        future.result(30)
    assert lane.look_ahead == 8
    scheduler.close()


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
    assert scheduler.open().submit(Clip("its client has left")).cancel()
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
