"""Windows hold all speech exactly once, end at pauses, and are exact about where they come from."""

import json
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from house import DATA
from hypothesis import example, given, settings
from hypothesis import strategies as st
from worker.audio import SAMPLE_RATE, AudioReader
from worker.vad import FRAME, Span, SpeechSpans, VadOptions
from worker.windows import PAUSE_MS, Window, WindowCutter, cut_windows

FRAMES_A_SECOND = SAMPLE_RATE / FRAME


def levels_of(*stretches: tuple[float, float]) -> np.ndarray:
    """Probabilities from (probability, seconds)."""
    parts = [np.full(round(seconds * FRAMES_A_SECOND), level) for level, seconds in stretches]
    return np.concatenate(parts).astype(np.float32)


def cut(
    levels: np.ndarray, total: int | None = None, options: VadOptions | None = None, block: int = 62
) -> list[Window]:
    """Cut a file whose every sample is its own number (exact in float32 for 17 minutes)."""
    return list(_windows(levels, total or len(levels) * FRAME - 1, options or VadOptions(), block))


def _windows(levels: np.ndarray, total: int, options: VadOptions, block: int) -> Iterator[Window]:
    samples = np.arange(total, dtype=np.float32)
    cutter = WindowCutter(options)
    for start in range(0, len(levels) - 1, block):
        end = min(start + block, len(levels) - 1)
        yield from cutter.push(samples[start * FRAME : end * FRAME], levels[start:end])
    yield from cutter.push(samples[(len(levels) - 1) * FRAME :], levels[:0])
    yield from cutter.finish(levels[-1:])
    assert cutter.received == total


def merged(spans: list[Span]) -> list[Span]:
    """Join the spans that touch."""
    joined: list[Span] = []
    for span in spans:
        if joined and joined[-1].end == span.start:
            joined[-1] = Span(joined[-1].start, span.end)
        else:
            joined.append(span)
    return joined


def spans_of(levels: np.ndarray, total: int, options: VadOptions) -> list[Span]:
    spans = SpeechSpans(options)
    return merged([*spans.push(levels), *spans.finish(total)])


def marked(total: int, spans: list[Span]) -> np.ndarray:
    """Which of the samples lie in the spans."""
    marks = np.zeros(total, bool)
    for span in spans:
        marks[slice(*span)] = True
    return marks


LEVELS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.4, 0.6, 0.99]), st.floats(0.04, 45)),
    min_size=1,
    max_size=16,
)
OPTIONS = st.builds(
    VadOptions,
    threshold=st.sampled_from([0.3, 0.5]),
    min_speech_duration_ms=st.sampled_from([0, 250]),
    max_speech_duration_s=st.sampled_from([float("inf"), 8, 30]),
    min_silence_duration_ms=st.sampled_from([0, 160, 2000, 15000]),
    speech_pad_ms=st.sampled_from([0, 100, 400]),
)


@settings(max_examples=50)
@given(levels=LEVELS, tail=st.integers(0, FRAME - 1), block=st.integers(1, 300), options=OPTIONS)
@example(  # of 9.5 s of silence that counts as speech, what would be a window of its own is left out
    levels=[(0.99, 27.0), (0.0, 9.5)],
    tail=0,
    block=62,
    options=VadOptions(min_silence_duration_ms=15_000),
)
def test_speech_is_in_windows_exactly_once_in_order_and_untouched(
    levels: list[tuple[float, float]], tail: int, block: int, options: VadOptions
) -> None:
    frames = levels_of(*levels)
    total = max(1, (len(frames) - 1) * FRAME + tail)
    windows = cut(frames, total, options, block)

    pieces = [piece for window in windows for piece in window.pieces]
    assert all(before.end <= after.start for before, after in pairwise(pieces))
    for window in windows:
        assert 0 < len(window.samples) <= min(30, options.max_speech_duration_s) * SAMPLE_RATE
        expected = np.concatenate([np.arange(*piece, dtype=np.float32) for piece in window.pieces])
        assert np.array_equal(window.samples, expected)

    pauses = VadOptions(
        threshold=options.threshold, min_silence_duration_ms=PAUSE_MS, speech_pad_ms=0
    )
    speaking = marked(total, spans_of(frames, total, pauses))
    to_keep = marked(total, spans_of(frames, total, options))
    told = np.zeros(total, bool)
    for window in windows:
        for span in window.speech:
            assert not told[slice(*span)].any()
            told[slice(*span)] = True
    assert np.array_equal(told, speaking & to_keep)
    assert not (marked(total, pieces) & ~to_keep).any()


SPEECH_AFTER_THE_LAST_WINDOW = [
    *((0.0, 1.0), (0.4, 1.0), (0.0, 1.0), (0.4, 27.5)),
    *((0.0, 11.0), (0.4, 1.0)),
]
EVERY_SILENCE_COUNTS = VadOptions(threshold=0.3, min_silence_duration_ms=0)


@settings(max_examples=30)
@given(levels=LEVELS, blocks=st.tuples(st.integers(1, 40), st.integers(41, 3000)), options=OPTIONS)
@example(levels=SPEECH_AFTER_THE_LAST_WINDOW, blocks=(1, 41), options=EVERY_SILENCE_COUNTS)
def test_how_samples_come_in_blocks_makes_no_difference(
    levels: list[tuple[float, float]], blocks: tuple[int, int], options: VadOptions
) -> None:
    frames = levels_of(*levels)
    small, large = (cut(frames, None, options, block) for block in blocks)
    assert [window.pieces for window in small] == [window.pieces for window in large]
    assert [window.speech for window in small] == [window.speech for window in large]


def borders(windows: list[Window]) -> list[tuple[float, float]]:
    return [(round(window.start, 1), round(window.end, 1)) for window in windows]


def test_a_short_file_is_one_window_with_its_edges_padded() -> None:
    assert borders(cut(levels_of((0, 3), (0.9, 5), (0, 3)))) == [(2.6, 8.4)]


def test_silence_gives_no_window() -> None:
    assert cut(levels_of((0.1, 120))) == []


def test_a_window_ends_at_the_longest_pause_of_its_last_third() -> None:
    levels = levels_of((0.9, 15), (0, 1.5), (0.9, 8), (0, 0.8), (0.9, 3), (0, 0.3), (0.9, 20))
    assert borders(cut(levels)) == [(0.0, 24.9), (24.9, 48.6)]


def test_of_pauses_that_sentences_end_with_the_latest_counts() -> None:
    levels = levels_of((0.9, 21), (0, 1.5), (0.9, 4), (0, 0.6), (0.9, 2), (0, 0.3), (0.9, 20))
    assert borders(cut(levels))[0] == (0.0, 26.8)


def test_an_early_pause_is_better_than_none() -> None:
    levels = levels_of((0.9, 12), (0, 0.4), (0.9, 40))
    assert borders(cut(levels))[0] == (0.0, 12.2)


def test_speech_without_a_pause_is_cut_where_it_is_least_probable() -> None:
    levels = levels_of((0.9, 26), (0.5, 0.1), (0.9, 40))
    assert borders(cut(levels)) == [(0.0, 26.0), (26.0, 56.0), (56.0, 66.1)]


def test_speech_is_not_cut_early_where_it_is_less_probable_than_late() -> None:
    levels = levels_of((0.9, 12), (0.5, 0.1), (0.9, 14), (0.6, 0.1), (0.9, 40))
    assert 26.0 <= borders(cut(levels))[0][1] <= 26.2


def test_of_a_pause_across_the_least_length_only_what_is_behind_counts() -> None:
    levels = levels_of((0.9, 19), (0, 1.5), (0.9, 40))
    [(_, end), *_] = borders(cut(levels))
    assert 20.0 <= end <= 20.5


def test_the_last_window_is_not_a_scrap() -> None:
    levels = levels_of((0.9, 17), (0, 0.5), (0.9, 11.5), (0, 0.3), (0.9, 1.5))
    assert borders(cut(levels)) == [(0.0, 17.2), (17.2, 30.8)]


@pytest.mark.parametrize(
    "stretches",
    [
        ((0.9, 12), (0, 0.3), (0.9, 16.4), (0, 1.9)),
        ((0.9, 28.4), (0, 1.9)),
        ((0.9, 28), (0, 0.5), (0.9, 0.2), (0, 1.8)),
        ((0.9, 29), (0, 1.9)),
    ],
)
def test_what_is_said_within_30_s_is_one_window_however_long_the_silence_behind_it(
    stretches: tuple[tuple[float, float], ...],
) -> None:
    [window] = cut(levels_of(*stretches))
    said = sum(seconds for _, seconds in stretches[:-1])
    assert window.speech[-1].end / SAMPLE_RATE == pytest.approx(said, abs=0.05)
    assert window.duration <= 30


def test_the_last_window_is_no_scrap_behind_a_long_pause() -> None:
    levels = levels_of((0.9, 20), (0, 0.2), (0.9, 9), (0, 1.2), (0.9, 1.2))
    assert borders(cut(levels)) == [(0.0, 20.1), (20.1, 31.6)]


def test_a_pause_before_the_last_window_leaves_it_five_seconds() -> None:
    levels = levels_of((0.9, 31))
    [(_, end), last] = borders(cut(levels))
    assert last[1] - last[0] >= 5
    assert end <= 26


@pytest.mark.parametrize(
    ("stretches", "options", "expected"),
    [
        (((0, 0.5), (0.9, 29.45), (0, 10)), {}, 1),
        (((0, 3.0), (0.9, 29.5), (0, 7)), {}, 1),
        (((0.9, 28), (0, 8), (0.9, 24)), {"speech_pad_ms": 3000}, 2),
        (((0.9, 27), (0, 9.5)), {"min_silence_duration_ms": 10_000}, 1),
        (((0.9, 5), (0, 58), (0.9, 5)), {"min_silence_duration_ms": 60_000}, 2),
    ],
    ids=["before", "before, later", "padding", "behind", "between"],
)
def test_no_window_is_without_speech(
    stretches: tuple[tuple[float, float], ...], options: dict[str, int], expected: int
) -> None:
    windows = cut(levels_of(*stretches), options=VadOptions(**options))
    assert all(window.speech for window in windows)
    assert len(windows) >= expected
    spoken = sum(span.length for window in windows for span in window.speech) / SAMPLE_RATE
    assert spoken == pytest.approx(sum(s for level, s in stretches if level), abs=0.1)


def test_short_silence_stays_and_long_silence_is_left_out() -> None:
    levels = levels_of((0.9, 4), (0, 1.5), (0.9, 4), (0, 6), (0.9, 4))
    [window] = cut(levels)
    assert [(round(p.start / 16000, 1), round(p.end / 16000, 1)) for p in window.pieces] == [
        (0.0, 9.9),
        (15.1, 19.5),
    ]
    assert window.duration == pytest.approx(14.3, abs=0.1)


def test_after_a_very_long_silence_a_new_window_begins() -> None:
    levels = levels_of((0.9, 4), (0, 15), (0.9, 4))
    assert borders(cut(levels)) == [(0.0, 4.4), (18.6, 23.0)]


def test_times_inside_a_window_are_exact_in_the_file_across_silence_left_out() -> None:
    [window] = cut(levels_of((0.9, 4), (0, 6), (0.9, 4)))
    first, second = window.pieces
    seam = first.length / 16000
    assert window.time(0) == 0.0
    assert window.time(2.5) == 2.5
    assert window.time(seam) == second.start / 16000
    assert window.time(seam, is_end=True) == first.end / 16000
    assert window.time(seam + 1) == second.start / 16000 + 1
    assert window.time(window.duration + 9) == window.end
    assert window.time(-1) == 0.0


def test_a_window_is_told_as_soon_as_its_look_ahead_is_known() -> None:
    levels = levels_of((0.9, 100))
    cutter = WindowCutter(VadOptions())
    told = []
    for start in range(0, len(levels), 31):
        block = levels[start : start + 31]
        windows = list(cutter.push(np.zeros(len(block) * FRAME, np.float32), block))
        told += [cutter.received / SAMPLE_RATE - window.end for window in windows]
    assert len(told) == 3
    assert max(told) < 7


def test_a_window_is_told_while_a_long_silence_behind_it_lasts() -> None:
    cutter = WindowCutter(VadOptions())
    levels = levels_of((0.9, 5), (0, 15))
    told = list(cutter.push(np.zeros(len(levels) * FRAME, np.float32), levels))
    assert borders(told) == [(0.0, 5.4)]


def test_a_real_file_is_cut_between_its_sentences() -> None:
    with (DATA / "long" / "en-90s.flac").open("rb") as file:
        reader = AudioReader(file, max_seconds=100)
        windows = list(cut_windows(reader.blocks(), VadOptions()))
    assert len(windows) == 4
    assert sum(window.duration for window in windows) > 80
    assert all(before.end <= after.start for before, after in pairwise(windows))


def test_windows_may_be_asked_to_be_shorter_and_still_end_in_pauses() -> None:
    with (DATA / "long" / "en-90s.flac").open("rb") as file:
        reader = AudioReader(file, max_seconds=100)
        windows = list(cut_windows(reader.blocks(), VadOptions(max_speech_duration_s=12)))
    assert all(window.duration <= 12 for window in windows)
    assert 7 <= len(windows) <= 12
    truth = next(
        t for t in json.loads((DATA / "truth.json").read_text()) if t["file"] == "long/en-90s.flac"
    )
    for window in windows[:-1]:
        assert not any(s["start"] + 0.1 < window.end < s["end"] - 0.1 for s in truth["sentences"])


def test_pieces_at_which_nothing_was_left_out_are_one() -> None:
    """Speech that is split for its length; a word across the border is whole."""
    with (DATA / "long" / "en-90s.flac").open("rb") as file:
        reader = AudioReader(file, max_seconds=100)
        windows = list(cut_windows(reader.blocks(), VadOptions(max_speech_duration_s=1)))
    for window in windows:
        assert all(before.end < after.start for before, after in pairwise(window.pieces))
        assert sum(piece.length for piece in window.pieces) == len(window.samples)
