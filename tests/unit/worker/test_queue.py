"""The queue: who is next, and what shares a batch."""

from collections import Counter
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scheduling import Clip, clips
from worker.scheduler.queue import AGEING_SECONDS, Entry, FairQueue, Place, Priority


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


def test_a_file_whose_windows_go_one_after_the_other_gets_its_share_of_its_tenants_too() -> None:
    """Its next window comes only after one of another file has been taken."""
    queue, served = FairQueue[Clip](), Counter[str]()
    in_turn, other = (queue.open("a", "interactive") for _ in range(2))
    push(queue, in_turn, Clip("in turn", 30.0))
    push(queue, other, *[Clip("other", 20.0)] * 2)
    is_due = False
    for _ in range(300):
        [taken] = queue.take(0.0, 1)
        served[taken.job.name] += int(taken.job.audio_seconds)
        if is_due:
            push(queue, in_turn, Clip("in turn", 30.0))
        is_due = taken.place is in_turn
        if not is_due:
            push(queue, other, Clip("other", 20.0))
    assert served["in turn"] >= 0.9 * served["other"], served


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


def test_who_fills_up_the_batches_of_another_class_has_not_waited() -> None:
    queue = FairQueue[Clip]()
    push(queue, queue.open("", "bulk"), *clips("bulk", 200))
    for second in range(90):
        push(queue, queue.open("", "live"), Clip("live"), now=float(second))
        batch = queue.take(float(second), 2)
        assert [entry.job.name[:4] for entry in batch] == ["live", "bulk"]


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


def test_who_arrives_starts_at_the_largest_tag_served_and_not_at_the_latest() -> None:
    queue = FairQueue[Clip]()
    behind = queue.open("behind", "interactive")
    push(queue, queue.open("ahead", "interactive"), Clip("long", 30.0))
    assert order(queue) == [["long"]]
    push(queue, behind, *clips("behind", 3, 3.0))
    assert [entry.job.name for entry in queue.take(0.0, 1)] == ["behind0"]
    push(queue, queue.open("new", "interactive"), Clip("new", 2.0))
    assert order(queue) == [["behind1"], ["behind2"], ["new"]]


def test_a_request_that_arrives_starts_where_its_tenants_others_have_come_to() -> None:
    """And not where one stands that was given credit, since it goes on after a while."""
    queue = FairQueue[Clip]()
    goes_on = queue.open("a", "interactive")
    push(queue, goes_on, Clip("first", 3.0))
    queue.take(0.0, 1)
    push(queue, queue.open("a", "interactive"), *clips("long", 2, 30.0))
    assert order(queue) == [["long0"], ["long1"]]
    push(queue, goes_on, *clips("next", 3, 3.0))
    assert [entry.job.name for entry in queue.take(0.0, 1)] == ["next0"]
    push(queue, queue.open("a", "interactive"), Clip("new", 2.0))
    assert order(queue) == [["next1"], ["next2"], ["new"]]


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


def test_where_every_window_takes_its_time_nothing_joins_a_batch_that_may_wait_longer() -> None:
    queue = FairQueue[Clip](fills_up=False)
    push(queue, queue.open("a", "bulk"), *clips("bulk", 9))
    file = queue.open("a", "interactive")
    push(queue, file, *clips("file", 7, 30.0))
    assert order(queue, size=4)[:3] == [
        ["file0"],
        ["file1", "file2"],
        [f"file{n}" for n in range(3, 7)],
    ]
    push(queue, file, *clips("file", 2, 30.0))
    for name in ("clip", "another"):
        push(queue, queue.open("b", "interactive"), Clip(name, 3.0))
    assert [*order(queue, size=4)[:2]] == [["clip", "another"], ["file0"]]


def test_a_request_that_was_served_one_full_window_may_still_join_a_clip() -> None:
    queue = FairQueue[Clip](fills_up=False)
    file = queue.open("a", "interactive")
    push(queue, file, *clips("file", 4, 30.0))
    queue.take(0.0, 4)
    batches = []
    for name in ("clip", "another"):
        push(queue, queue.open("b", "interactive"), Clip(name, 3.0))
        batches.append([entry.job.name for entry in queue.take(0.0, 4)])
    assert batches == [["clip", "file1"], ["another"]]


def test_a_message_of_two_windows_waits_for_no_more_of_a_file_than_a_clip_does() -> None:
    queue = FairQueue[Clip](fills_up=False)
    file, message = queue.open("a", "interactive"), queue.open("a", "interactive")
    push(queue, file, *clips("file", 9, 30.0))
    for _ in range(2):
        queue.take(0.0, 4)
    push(queue, message, *clips("message", 2, 20.0))
    assert order(queue, size=4)[:2] == [["message0"], ["file3", "message1"]]


def test_a_request_that_has_nothing_to_do_leaves_others_their_whole_batches() -> None:
    """It reads through an hour of silence, or its client takes long to read."""
    queue = FairQueue[Clip](fills_up=False)
    idle = queue.open("a", "interactive")
    file = queue.open("b", "interactive")
    push(queue, file, *clips("file", 20, 30.0))
    assert [len(queue.take(0.0, 4)) for _ in range(3)] == [1, 2, 4]
    push(queue, idle, Clip("awake", 30.0))
    [awake] = queue.take(0.0, 4)
    assert awake.place is idle
    assert len(queue.take(0.0, 4)) == 1, "its window runs"
    queue.has_run(awake)
    assert len(queue.take(0.0, 4)) == 4


def test_where_a_file_begins_the_batch_a_clip_may_join_but_no_more_of_other_files() -> None:
    queue = FairQueue[Clip](fills_up=False)
    for name in "xyz":
        push(queue, queue.open("a", "interactive"), *clips(name, 9, 30.0))
    for _ in range(6):
        queue.take(0.0, 4)
    push(queue, queue.open("a", "interactive"), Clip("clip", 28.0))
    batches = order(queue, size=4)
    [with_clip] = [batch for batch in batches if "clip" in batch]
    assert with_clip[-1] == "clip"


def test_beside_others_a_file_puts_one_window_into_a_batch_where_each_takes_its_time() -> None:
    """Else one whose windows go one after the other would get one for four of another file."""
    queue, served = FairQueue[Clip](fills_up=False), Counter[str]()
    in_turn, ahead = queue.open("a", "interactive"), queue.open("b", "interactive")
    for _ in range(60):
        push(queue, ahead, *clips("ahead", 8 - len(ahead.entries), 30.0))
        batch = queue.take(0.0, 4)
        served.update(entry.job.name[:5] for entry in batch)
        if not in_turn.entries:
            push(queue, in_turn, Clip("turn ", 30.0))
    assert served["turn "] > 0.8 * served["ahead"]


def test_windows_of_many_texts_make_smaller_batches() -> None:
    queue = FairQueue[Clip]()
    for weight in (1, 4, 40):
        for _ in range(8):
            clip = Clip(f"of {weight}", key=str(weight), weight=weight)
            push(queue, queue.open("", "interactive"), clip)
    sizes = Counter(f"{len(batch)} {batch[0]}" for batch in order(queue, size=8))
    assert sizes == {"8 of 1": 1, "2 of 4": 4, "1 of 40": 8}


def test_a_file_is_not_starved_by_its_tenants_clips_that_join_batches_of_other_tenants() -> None:
    queue = FairQueue[Clip](fills_up=False)
    push(queue, queue.open("a", "interactive"), *clips("long", 40, 30.0))
    queue.take(0.0, 4)
    served = []
    for _ in range(220):
        for tenant in "ab":
            push(queue, queue.open(tenant, "interactive"), Clip("clip", 3.0))
        served += [entry.job.name[:4] for entry in queue.take(0.0, 4)]
    assert served.count("long") >= 6  # one for 37 clips; for 22 without the other tenant


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


def test_a_crowd_is_looked_through_no_more_often_than_it_is_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not once for each of its requests: a batch is taken under the lock that all of them wait for."""
    looks = Counter[int]()
    is_busy = Place.is_busy.fget

    def watched(place: Place[Clip]) -> bool:
        looks[len(crowd)] += 1
        return is_busy(place)

    monkeypatch.setattr(Place, "is_busy", property(watched))
    for size in (50, 100):
        queue = FairQueue[Clip](fills_up=False)
        crowd = [queue.open("a", "interactive") for _ in range(size)]
        for place in crowd:
            push(queue, place, Clip("clip", 30.0))
        assert len(queue.take(0.0, 4)) == 4
    assert 0 < looks[100] <= 2 * looks[50]
