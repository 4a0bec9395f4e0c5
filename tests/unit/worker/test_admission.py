"""Admission: what is refused, for how long, and what is predicted."""

from typing import Any

import pytest
from scheduling import Clip, Engine, running, standing
from worker.errors import Overloaded
from worker.scheduler import Arrival, Report, Scheduler
from worker.scheduler.queue import AGEING_SECONDS


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


def test_so_many_more_requests_may_be_open_as_windows_can_run_on_all_workers() -> None:
    scheduler = standing(3.0, max_requests=2, workers=3, max_batch_size=2)
    for _ in range(2 + 3 * 2):
        scheduler.open(Arrival(seconds=60.0)).started = True
    with pytest.raises(Overloaded, match="queue is full"):
        scheduler.open()


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
    assert scheduler.predicted_start_seconds(Arrival(seconds=90.0)) == 3.0


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


def test_another_tenants_clip_is_waited_for_once_however_long_the_arrival_is() -> None:
    scheduler = standing(3.0)
    scheduler.open(Arrival(tenant="other", seconds=3.0)).submit(Clip("short", 3.0))
    assert predicted_end(scheduler, tenant="own", seconds=300.0) == 3.0 + 10 * 3.0


def test_while_a_tenant_is_served_others_get_as_much_as_all_its_requests_together() -> None:
    scheduler = standing(3.0)
    scheduler.open(Arrival(tenant="own", seconds=30.0)).submit(Clip("before", 30.0))
    scheduler.open(Arrival(tenant="other", seconds=3600.0)).submit(Clip("long", 30.0))
    assert predicted_end(scheduler, tenant="own", seconds=30.0) == (1 + 2 + 1) * 3.0


def test_of_what_has_not_come_yet_no_more_is_next_than_is_left() -> None:
    scheduler = standing(3.0)
    for _ in range(2):
        scheduler.open(Arrival(tenant="other", seconds=5.0))
    assert predicted_end(scheduler, tenant="own", seconds=3.0) == 3.0 + 3.0


def test_a_full_queue_has_room_once_the_shortest_request_has_ended() -> None:
    scheduler = standing(3.0, max_requests=2)
    for seconds in (60.0, 600.0):
        scheduler.open(Arrival(seconds=seconds)).submit(Clip("first", 30.0))
    with pytest.raises(Overloaded, match="queue is full") as full:
        scheduler.check(Arrival())
    assert full.value.retry_after == 9.0


def test_a_queue_full_of_requests_of_which_nothing_has_come_has_room_after_a_window() -> None:
    scheduler = standing(3.0, max_requests=2)
    for _ in range(2):
        scheduler.open()
    with pytest.raises(Overloaded, match="queue is full") as full:
        scheduler.check(Arrival())
    assert full.value.retry_after == 3.0


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


def test_a_request_without_a_window_in_the_queue_does_not_age_its_class() -> None:
    now = [1000.0]
    scheduler = standing(3.0, clock=lambda: now[0])
    lane = scheduler.open(Arrival(priority="bulk", seconds=60.0))
    assert scheduler.waiting_before(Arrival(priority="live")) == 0
    lane.submit(Clip("window", 30.0))
    assert scheduler.waiting_before(Arrival(priority="live")) == 0
    now[0] += 2 * AGEING_SECONDS
    assert scheduler.waiting_before(Arrival(priority="live")) == 1


def test_a_class_that_has_waited_for_minutes_stands_beside_the_most_urgent_and_not_before_it() -> (
    None
):
    now = [0.0]
    scheduler = standing(3.0, clock=lambda: now[0])
    scheduler.open(Arrival(priority="bulk", seconds=3 * 3600.0)).submit(Clip("long", 30.0))
    now[0] = 4 * AGEING_SECONDS
    assert predicted_end(scheduler, priority="live", seconds=3.0) == 3.0 + 3.0


def test_the_first_window_of_a_lower_class_ages_once_and_once_more_for_each_before_it() -> None:
    scheduler = standing(3.0)
    bulk = Arrival(priority="bulk")
    scheduler.open(Arrival(seconds=3 * 3600.0)).submit(Clip("long", 30.0))
    assert scheduler.predicted_start_seconds(bulk) == AGEING_SECONDS + 3.0
    scheduler.open(Arrival(priority="bulk", seconds=60.0)).submit(Clip("before", 30.0))
    assert scheduler.predicted_start_seconds(bulk) == 2 * AGEING_SECONDS + 3.0 + 3.0


def test_bulk_work_ages_by_two_classes_until_it_is_served_beside_live_work() -> None:
    scheduler = standing(3.0)
    scheduler.open(Arrival(priority="live", seconds=3 * 3600.0)).submit(Clip("long", 30.0))
    assert scheduler.predicted_start_seconds(Arrival(priority="bulk")) == 2 * AGEING_SECONDS + 3.0


def test_requests_of_no_lower_class_wait_before_one_that_comes() -> None:
    scheduler = standing(3.0)
    arrivals = [Arrival(priority="live"), Arrival(), Arrival(priority="bulk")]
    for arrival in arrivals:
        scheduler.open(arrival).submit(Clip("waits"))
    assert [scheduler.waiting_before(arrival) for arrival in arrivals] == [1, 2, 3]


def test_a_request_of_which_nothing_has_come_yet_is_not_waited_for() -> None:
    scheduler = standing(3.0)
    scheduler.open(Arrival(tenant="other"))
    assert scheduler.predicted_start_seconds() == 0.0
    scheduler.check(Arrival(seconds=30.0, deadline=3.0))


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


def test_what_is_in_flight_is_waited_for_where_every_worker_has_something() -> None:
    scheduler = standing(3.0, workers=2, max_batch_size=4)
    lane = scheduler.open(Arrival(seconds=240.0))
    for n in range(8):
        lane.submit(Clip(f"window {n}", 30.0))
    assert [len(scheduler._wait_for_batch() or []) for _ in range(2)] == [1, 2]
    assert scheduler.predicted_start_seconds() == 3 * 3.0 / 2
    with pytest.raises(Overloaded, match=r"7\.5 s are predicted"):
        scheduler.check(Arrival(seconds=3.0, deadline=5.0))


def test_what_is_in_flight_is_not_waited_for_where_a_worker_is_idle() -> None:
    scheduler = standing(10.0, workers=2, max_batch_size=4)
    scheduler.open(Arrival(priority="bulk", seconds=30.0)).submit(Clip("bulk", 30.0))
    assert len(scheduler._wait_for_batch() or []) == 1
    assert scheduler.predicted_start_seconds(Arrival(priority="live")) == 0.0
    scheduler.check(Arrival(priority="live", seconds=3.0, deadline=15.0))
    scheduler.open(Arrival(priority="bulk", seconds=30.0)).submit(Clip("next", 30.0))
    assert scheduler.predicted_start_seconds(Arrival(priority="live")) == 5.0, "it takes that"


def test_a_worker_that_has_ended_its_steps_is_idle_again() -> None:
    scheduler = standing(10.0, workers=2, max_batch_size=1)
    lane = scheduler.open(Arrival(priority="bulk", seconds=120.0))
    for number in range(4):
        lane.submit(Clip(f"bulk {number}", 30.0, is_whole=False))
        batch = scheduler._wait_for_batch()
        assert batch is not None
        if number < 3:
            scheduler._run(batch)
    assert scheduler.predicted_start_seconds(Arrival(priority="live")) == 0.0


def test_windows_that_are_encoded_short_count_as_a_share_of_one_for_others_too() -> None:
    scheduler = standing(1.5)
    for _ in range(10):
        scheduler.open(Arrival(seconds=8.0, share=1 / 3)).submit(Clip("waits", 8.0, share=1 / 3))
    assert scheduler.predicted_start_seconds() == pytest.approx(10 * 0.5)
    scheduler.check(Arrival(seconds=8.0, share=1 / 3, deadline=6.0))
