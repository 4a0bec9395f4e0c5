"""The speed that is learned from steps."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from scheduling import Clip, Engine
from worker.decoding.attempt import Attempt, Recipe
from worker.errors import Overloaded
from worker.scheduler import Arrival, Scheduler
from worker.scheduler.speed import CURRENT_SECONDS, Speed


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
    with pytest.raises(Overloaded, match=r"200\.0 s are predicted"):
        scheduler.check(replace(late, deadline=150.0))


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
    assert speed.expected_step_seconds(1) == 3.0
    assert speed.expected_step_seconds(4) == pytest.approx(12.0, rel=0.15)
    assert speed.predicted_seconds(4) == pytest.approx(6.0, rel=0.15)


def test_what_a_step_costs_of_its_own_is_told_from_what_a_window_does() -> None:
    """As on a GPU: a full batch takes little longer than one clip, and after many clips that is still known."""
    speed = Speed(batch_size=lambda: 16)

    def observe(windows: int, times: int) -> None:
        for _ in range(times):
            speed.observe(windows=windows, seconds=0.2 + 0.02 * windows, now=0.0)

    observe(1, times=1)
    assert speed.predicted_seconds(160) == pytest.approx(160 * 0.22), "nothing else is known yet"
    for _ in range(3):
        observe(16, times=10)
        observe(1, times=10)
    observe(1, times=100)
    assert speed.expected_step_seconds(1) == pytest.approx(0.22, rel=0.02)
    assert speed.expected_step_seconds(16) == pytest.approx(0.52, rel=0.15)
    assert speed.predicted_seconds(160) == pytest.approx(10 * 0.52, rel=0.15)
    assert speed.predicted_alone(4800.0) == pytest.approx(10 * 0.52, rel=0.15)
    assert speed.predicted_alone(4800.0, in_turn=True) == pytest.approx(160 * 0.22, rel=0.02)
    short = 160 * (0.2 + 0.02 / 3)
    assert speed.predicted_alone(4800.0, in_turn=True, share=1 / 3) == pytest.approx(short, rel=0.1)
    assert speed.predicted_alone(2.0) == pytest.approx(0.22, rel=0.02)
    assert speed.predicted_seconds(1) == pytest.approx(0.22, rel=0.02), "no less than a step"
    assert speed.predicted_seconds(0) == 0.0


def test_what_a_step_costs_of_its_own_is_learned_anew_where_the_device_has_changed() -> None:
    speed = Speed()
    for times, own, each in ((200, 0.2, 0.02), (600, 0.0, 0.22)):
        for _ in range(times):
            for windows in (1, 16):
                speed.observe(windows=windows, seconds=own + each * windows, now=0.0)
    assert speed.expected_step_seconds(16) == pytest.approx(16 * 0.22, rel=0.05)


@pytest.mark.parametrize("seconds", [(1.0, 8.0), (4.0, 1.0)], ids=["dearer", "cheaper"])
def test_a_step_is_never_taken_to_cost_less_than_nothing_of_its_own_or_for_a_window(
    seconds: tuple[float, float],
) -> None:
    """However odd the times are that were measured."""
    speed = Speed()
    for _ in range(20):
        for windows, took in zip((1, 4), seconds, strict=True):
            speed.observe(windows=windows, seconds=took, now=0.0)
    one, four = speed.expected_step_seconds(1), speed.expected_step_seconds(4)
    assert one is not None
    assert four is not None
    assert one <= four <= 4 * one


def test_a_step_of_no_measurable_time_does_not_make_all_that_follow_count_as_asleep() -> None:
    speed = Speed()
    for seconds in (0.0, 2.0):
        speed.observe(windows=1, seconds=seconds, now=0.0)
    assert speed.predicted_alone(30.0) == 2.0


def test_what_further_steps_take_is_shared_by_the_windows_of_the_step_they_belong_to() -> None:
    speed = Speed()
    for _ in range(60):
        speed.observe_further(2.0)
        speed.observe(windows=4, seconds=8.0, now=0.0)
    assert speed.predicted_alone(30.0) == pytest.approx(2.0 + 0.5)


def test_texts_of_other_lengths_do_not_make_a_windows_cost_a_steps() -> None:
    """As on a CPU: a window with much text takes longer than one with little, each alone in its step."""
    speed = Speed(batch_size=lambda: 4)
    for n in range(100):
        speed.observe(windows=1, seconds=(1.0, 2.0, 3.0)[n % 3], now=0.0)
    assert speed.expected_step_seconds(1) == pytest.approx(2.0, rel=0.2)
    assert speed.predicted_seconds(40) == pytest.approx(80.0, rel=0.25)


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
    attempt = Attempt(Recipe(kind), mel, (), (), 3000, "a window", encoded=encoded)
    assert attempt.is_whole is expected


@pytest.mark.parametrize(
    ("recipe", "weight"),
    [
        (Recipe("decode"), 1),
        (Recipe("decode", beam_size=1), 1),
        (Recipe("decode", beam_size=20), 4),
        (Recipe("decode", beam_size=20, temperature=0.2), 1),
        (Recipe("decode", best_of=6, temperature=0.2), 2),
        (Recipe("decode", suppress_tokens=tuple(range(90))), 1),
        (Recipe("decode", suppress_tokens=tuple(range(5000))), 17),
        (Recipe("detect", beam_size=20), 1),
    ],
)
def test_a_window_weighs_by_its_texts_and_by_the_tokens_that_are_suppressed(
    recipe: Recipe, weight: int
) -> None:
    mel = np.zeros((80, 3000), np.float32)
    assert Attempt(recipe, mel, (), (), frames=3000, description="").weight == weight
