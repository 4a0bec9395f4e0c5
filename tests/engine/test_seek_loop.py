"""Properties of the way from audio to words, whatever a model says: the seek loop, the timeline, the wire."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import accumulate, cycle, pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripted import Scripted, aligned
from worker.audio import Samples
from worker.decoding.attempt import Outcome
from worker.decoding.listener import Sound
from worker.decoding.look import Said
from worker.decoding.passage import Context, Source, transcribe_passage
from worker.decoding.plan import Plan, make_plan
from worker.decoding.sources import FileSource, WindowSource
from worker.decoding.station import Station
from worker.decoding.timestamps import TimedWord
from worker.decoding.vocabulary import Vocabulary
from worker.settings import Settings
from worker.transcribe.segments import Timeline, split_at_silence, wire_segment
from worker.vad import Span
from worker.windows import Window
from worker.wire import Options, Segment

PHRASES = (
    *(" Good morning.", " Yes.", " It's 3.50, they said", " “No,” no.", ""),
    *("yes. No.", ", no", " I think -", "你好。"),  # no space before, punctuation at a border
)
BLOCK = 32_000


class Look(NamedTuple):
    """What a model says to one sound: texts between timestamps, the last of them perhaps open."""

    stamps: list[int]
    phrases: list[str]
    is_open: bool
    cut_off: bool
    no_speech_prob: float
    places: list[float]
    """Where in the sound its tokens are, as shares of it."""

    def outcome(self, vocabulary: Vocabulary, plan: Plan, frames: int) -> Outcome:
        """The look at a sound of `frames`, as the engine would tell it."""
        stamps = [vocabulary.timestamp_begin + stamp for stamp in sorted(self.stamps)]
        tokens: list[int] = []
        for (start, end), phrase in zip(pairwise(stamps), self.phrases, strict=False):
            tokens += [start, *vocabulary.encode(phrase), end]
        if self.is_open and tokens:
            tokens.pop()
        if not plan.timestamps:
            tokens = [token for token in tokens if token < vocabulary.eot]
        size = sum(token < vocabulary.eot for token in tokens) + 1
        places = [int(share * frames / 2) for share, _ in zip(cycle(self.places), range(size))]
        return Outcome(
            tokens=tuple(tokens),
            alignment=aligned(tokens, places, vocabulary.eot),
            no_speech_prob=self.no_speech_prob,
            avg_logprob=-1.5,
            cut_off=self.cut_off,
        )


LOOKS = st.lists(
    st.builds(
        Look,
        stamps=st.lists(st.integers(0, 1500), min_size=2, max_size=5),
        phrases=st.lists(st.sampled_from(PHRASES), min_size=4, max_size=4),
        is_open=st.booleans(),
        cut_off=st.booleans(),
        no_speech_prob=st.sampled_from([0.0, 0.0, 0.9]),
        places=st.lists(st.floats(0, 1), min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=5,
)
ONE_AT_THE_END = Look(
    [0, 535], [" Yes."] * 4, is_open=False, cut_off=False, no_speech_prob=0.0, places=[1.0]
)
OPTIONS = st.fixed_dictionaries(
    {"without_timestamps": st.booleans(), "word_timestamps": st.booleans()}
)


class Passage(NamedTuple):
    """What came of a passage: its looks (begin, end, said) and all the sounds that were heard."""

    looks: list[tuple[int, int, list[Said]]]
    asked: list[tuple[int, int]]

    def taken(self, begin: int) -> int:
        """Where the sound ends whose text was taken in the look from `begin`; it may have been cut."""
        return [seek + frames for seek, frames in self.asked if seek == begin][-1]


def heard(source: Source, plan: Plan, vocabulary: Vocabulary, script: list[Look]) -> Passage:
    coming = cycle(script)
    listener: Any = Scripted(
        vocabulary, lambda sound: next(coming).outcome(vocabulary, plan, sound.frames)
    )
    looks: list[tuple[int, int, list[Said]]] = []

    async def hear() -> None:
        begin = 0
        async for said, seek in transcribe_passage(source, listener, plan, Context()):
            looks.append((begin, seek, said))
            begin = seek

    asyncio.run(hear())
    return Passage(looks, listener.asked)


def plan_for(vocabulary: Vocabulary, **options: Any) -> Plan:
    return make_plan(
        Options(language="en", **options), Settings(whisper_models=["micro"]), vocabulary, "cpu"
    )


def file_of(total: int) -> FileSource:
    """A file in which each sample is its own number."""
    samples = np.arange(total, dtype=np.float32)
    blocks: Iterator[Samples] = (samples[n : n + BLOCK] for n in range(0, total, BLOCK))

    async def following() -> Samples | None:
        return next(blocks, None)

    return FileSource(following)


class Checked:
    """A source that sees to it that what is read stands where it should."""

    def __init__(self, source: FileSource) -> None:
        self._source = source

    @property
    def end(self) -> int | None:
        return self._source.end

    async def read(self, seek: int, *, heard: int) -> Sound | None:
        sound = await self._source.read(seek, heard=heard)
        if sound is not None:
            assert (sound.seek, sound.samples[0]) == (seek, seek * 160)
        return sound


@settings(max_examples=150)
@given(total=st.integers(0, 70 * 16_000), script=LOOKS, options=OPTIONS)
def test_every_frame_of_a_file_is_heard_and_passed_once_and_the_loop_ends(
    station: Station, total: int, script: list[Look], options: dict[str, bool]
) -> None:
    plan = plan_for(station.vocabulary, vad_filter=False, **options)
    passage = heard(Checked(file_of(total)), plan, station.vocabulary, script)
    for begin, end, _ in passage.looks:
        assert begin < end <= passage.taken(begin)
    end = passage.looks[-1][1] if passage.looks else 0
    assert total - end * 160 < 160


def test_what_a_cut_leaves_of_a_window_is_heard_however_short(station: Station) -> None:
    """The quietest place is 0.4 s before the end of what is spoken."""
    samples = np.ones(8 * 16_000, np.float32)
    samples[5 * 16_000 : 6 * 16_000] = 0.0
    window = Window(samples, (Span(0, 128_000),), (Span(0, 86_400),))
    whole = Look([0, 250], [" Yes."] * 4, False, cut_off=True, no_speech_prob=0.0, places=[0.0])
    plan = plan_for(station.vocabulary)
    passage = heard(
        WindowSource(window), plan, station.vocabulary, [whole, whole._replace(cut_off=False)]
    )
    assert [seek for seek, _ in passage.asked] == [0, 0, passage.asked[1][1]]
    assert sum(passage.asked[2]) == 800


@pytest.mark.parametrize("word_timestamps", [False, True])
def test_a_short_word_that_the_model_has_begun_and_not_ended_is_heard_again(
    station: Station, word_timestamps: bool
) -> None:
    """It stands in no text yet, although its window was heard to the end."""
    window = Window(
        np.zeros(160_000, np.float32),
        (Span(0, 160_000),),
        (Span(0, 144_000), Span(150_400, 156_800)),
    )
    phrases = [" Good morning.", " Yes."] * 2
    first = Look([0, 450, 500], phrases, True, False, no_speech_prob=0.0, places=[0.9])
    rest = Look([0, 40], [" Yes."] * 4, False, False, no_speech_prob=0.0, places=[0.0])
    plan = plan_for(station.vocabulary, without_timestamps=False, word_timestamps=word_timestamps)
    passage = heard(WindowSource(window), plan, station.vocabulary, [first, rest])
    texts = [said.text for _, _, some in passage.looks for said in some]
    assert texts == [" Good morning.", " Yes."]
    assert [seek for seek, _ in passage.asked] == [0, 900]


@pytest.mark.parametrize("conditioned", [False, True])
def test_what_is_spoken_behind_a_text_that_ends_early_is_heard(
    station: Station, conditioned: bool
) -> None:
    samples = np.zeros(28 * 16_000, np.float32)
    everywhere = (Span(0, len(samples)),)
    first = Look([0, 500], [" Good morning."] * 4, False, False, no_speech_prob=0.0, places=[0.36])
    rest = Look([0, 850], [" Yes."] * 4, False, False, no_speech_prob=0.0, places=[0.9])
    plan = plan_for(station.vocabulary, condition_on_previous_text=conditioned)
    window = WindowSource(Window(samples, everywhere, everywhere))
    passage = heard(window, plan, station.vocabulary, [first, rest])
    texts = [said.text for _, _, some in passage.looks for said in some]
    assert texts == [" Good morning.", " Yes."]


@pytest.mark.parametrize("word_timestamps", [False, True])
def test_the_probabilities_of_tokens_do_not_change_where_a_file_is_heard(
    station: Station, word_timestamps: bool
) -> None:
    look = Look([0, 400], [" Good morning."] * 4, True, False, no_speech_prob=0.0, places=[0.5])
    asked = [
        heard(
            file_of(40 * 16_000),
            plan_for(
                station.vocabulary,
                vad_filter=False,
                word_timestamps=word_timestamps,
                logprobs=logprobs,
            ),
            station.vocabulary,
            [look],
        ).asked
        for logprobs in (False, True)
    ]
    assert asked[0] == asked[1]


@st.composite
def windows(draw: Callable[..., Any]) -> Window:
    """At most 30 s in pieces, with silence left out between them and speech in each."""
    lengths = draw(st.lists(st.integers(512, 120_000), min_size=1, max_size=4))
    gaps = draw(st.lists(st.integers(1, 200_000), min_size=4, max_size=4))
    pieces = []
    for length, (before, begin) in zip(
        lengths, pairwise(accumulate(gaps, initial=0)), strict=False
    ):
        start = begin + (pieces[-1].end - before if pieces else 0)
        pieces.append(Span(start, start + length))
    speech = [
        Span(piece.start + piece.length // 8, piece.end - piece.length // 8) for piece in pieces
    ]
    return Window(np.zeros(sum(lengths), np.float32), tuple(pieces), tuple(speech))


def wired(
    passage: Passage, timeline: Timeline, plan: Plan, vocabulary: Vocabulary
) -> list[Segment]:
    return [
        wire_segment(said, number=0, timeline=timeline, plan=plan, vocabulary=vocabulary)
        for _, _, some in passage.looks
        for said in split_at_silence(some, timeline, vocabulary)
    ]


def assert_words_are_in_order(segments: list[Segment], begin: float, end: float) -> None:
    earliest = begin
    for segment in segments:
        assert segment.words, segment
        assert "".join(word.word for word in segment.words) == segment.text
        assert segment.start <= segment.words[0].start
        assert segment.words[-1].end <= segment.end
        for word in segment.words:
            assert earliest <= word.start <= word.end <= end
            earliest = word.end


def test_what_a_window_leaves_open_is_heard_from_where_it_begins(station: Station) -> None:
    """Alignment may end the word before too late: what lies between would be heard in no look."""
    first = Look(
        [0, 250, 500], [" Yes.", " Good morning."], True, False, 0.0, [0, 0.54, 0.56, 0.6, 0.7, 0.9]
    )
    rest = Look([0, 250], [" Good morning."], False, False, 0.0, [0, 0.4, 0.6, 0.9])
    span = (Span(0, 160_000),)
    window = Window(np.zeros(160_000, np.float32), span, span)
    plan = plan_for(station.vocabulary)
    passage = heard(WindowSource(window), plan, station.vocabulary, [first, rest])
    assert [begin for begin, *_ in passage.looks] == [0, 500]


def test_a_model_that_closes_no_text_does_not_hear_the_end_of_each_window_twice(
    station: Station,
) -> None:
    look = Look([0, 160], [" Good morning."], True, False, 0.0, [0, 0.3, 0.75, 0.9])
    span = (Span(0, 51_200),)
    window = Window(np.zeros(51_200, np.float32), span, span)
    passage = heard(WindowSource(window), plan_for(station.vocabulary), station.vocabulary, [look])
    assert len(passage.looks) == 1


@pytest.mark.parametrize("vad", [True, False])
@pytest.mark.parametrize("cut_off", [True, False])
def test_a_model_that_ends_each_text_at_once_is_not_asked_for_minutes(
    station: Station, vad: bool, cut_off: bool
) -> None:
    """Its times say that 0.02 s were said; 30 s would be heard in 1,500 looks."""
    look = Look([0, 1], [" no"], False, cut_off, 0.0, [0.0])
    plan = plan_for(station.vocabulary, vad_filter=vad, word_timestamps=True)
    span = (Span(0, 480_000),)
    window = Window(np.zeros(480_000, np.float32), span, span)
    source: Source = WindowSource(window) if vad else file_of(480_000)
    passage = heard(source, plan, station.vocabulary, [look])
    assert len(passage.looks) < 40
    assert passage.looks[-1][1] >= 3_000 - 200


@settings(max_examples=150)
@given(window=windows(), script=LOOKS, without=st.booleans())
def test_words_across_removed_silence_are_in_order_inside_their_segments_and_the_audio(
    station: Station, window: Window, script: list[Look], without: bool
) -> None:
    plan = plan_for(station.vocabulary, word_timestamps=True, without_timestamps=without)
    passage = heard(WindowSource(window), plan, station.vocabulary, script)
    heard_until = max(passage.taken(begin) for begin, _, _ in passage.looks) * 160
    assert heard_until >= len(window.samples) - window.pieces[-1].length // 8
    segments = wired(passage, Timeline(window), plan, station.vocabulary)
    assert_words_are_in_order(segments, 0.0, window.end)
    for segment in segments:
        for word in segment.words or []:
            middle = (word.start + word.end) / 2 * 16_000
            assert any(piece.start - 16 <= middle <= piece.end + 16 for piece in window.pieces)


def test_speech_on_both_sides_of_left_out_silence_is_not_doubted_for_the_silence_between() -> None:
    """A segment without words, as with previous text, spans what the model has never heard."""
    pieces = (Span(16_000, 38_400), Span(163_200, 185_600))
    speech = (Span(22_400, 32_000), Span(169_600, 179_200))
    timeline = Timeline(Window(np.zeros(44_800, np.float32), pieces, speech))
    start, end = timeline.segment(0.0, 2.8)
    assert (start, end) == pytest.approx((1.0, 11.6))
    assert timeline.spoken_share(start, end) == pytest.approx(1.2 / 2.8)
    assert timeline.spoken_share(1.0, 1.15) == 0


def test_a_short_text_is_doubted_where_nobody_speaks_close_by() -> None:
    pieces, speech = (Span(16_000, 38_400),), (Span(22_400, 32_000),)
    timeline = Timeline(Window(np.zeros(22_400, np.float32), pieces, speech))
    assert [timeline.spoken_share(at, at) for at in (1.0, 1.3, 1.6, 2.1, 2.4)] == [0, 1, 1, 1, 0]
    assert timeline.spoken_share(1.1, 1.38) == 1, "its full stop begins before the speech does"
    assert timeline.spoken_share(3.0, 4.0) == 0, "in what was left out"


def test_a_word_ends_with_the_speech_and_not_with_the_silence_behind_it() -> None:
    """A full stop that is no ASCII stays in the word, and takes the silence behind it."""
    pieces, speech = (Span(0, 80_000),), (Span(0, 24_000), Span(48_000, 80_000))
    timeline = Timeline(Window(np.zeros(80_000, np.float32), pieces, speech))
    assert timeline.word(TimedWord(" गया।", 1.0, 3.0, 0.9, [1])) == pytest.approx((1.0, 1.5))
    assert timeline.word(TimedWord(" home", 1.0, 1.7, 0.9, [1])) == pytest.approx((1.0, 1.7))
    assert timeline.word(TimedWord(" on", 1.0, 3.2, 0.9, [1])) == pytest.approx((1.0, 3.2))


def test_words_that_open_a_segment_do_not_stand_alone_before_left_out_silence() -> None:
    pieces = (Span(0, 32_000), Span(96_000, 128_000))  # the seam is at 2.0 s
    speech = (Span(3_200, 25_600), Span(102_400, 121_600))
    timeline = Timeline(Window(np.zeros(64_000, np.float32), pieces, speech))

    def starts(*words: tuple[str, float, float]) -> list[float]:
        placed = timeline.words([TimedWord(word, *times, 0.9, [1]) for word, *times in words])
        return [round(word.start, 2) for word in placed]

    behind = (" think", 2.4, 2.8)
    assert starts((" I", 1.52, 1.64), behind) == [6.4, 6.4]
    assert starts((" Well,", 1.52, 1.64), behind) == [1.52, 6.4], "said before a pause"
    assert starts((" So", 1.2, 1.6), behind) == [1.2, 6.4], "somebody speaks there"


def test_a_word_that_alignment_begins_in_the_pad_before_left_out_silence_belongs_behind_it() -> (
    None
):
    pieces = (Span(466_720, 517_440), Span(659_200, 714_560))  # the seam is at 3.17 s
    speech = (Span(473_120, 511_040), Span(665_600, 708_160))
    timeline = Timeline(Window(np.zeros(106_080, np.float32), pieces, speech))

    def placed(start: float, end: float) -> tuple[float, float]:
        return timeline.word(TimedWord(" I", start, end, 0.9, [1]))

    start, end = placed(2.89, 3.41)  # most of it before the seam, where nobody speaks any more
    assert 41.2 <= start <= end == pytest.approx(41.44)
    start, end = placed(2.50, 3.17)  # a last word may end at the seam
    assert (start, end) == pytest.approx((31.67, 32.34))
    start, end = placed(
        2.70, 3.25
    )  # and one that is heard before it stays there, as long as it is heard
    assert (start, end) == pytest.approx((31.87, 31.94))


def test_a_word_across_left_out_silence_is_on_one_side_and_ends_after_it_begins() -> None:
    pieces, spoken = (Span(16_000, 38_400), Span(163_200, 185_600)), Span(22_400, 32_000)

    def placed(start: float, end: float, behind: Span) -> tuple[float, float]:
        timeline = Timeline(Window(np.zeros(44_800, np.float32), pieces, (spoken, behind)))
        return timeline.word(TimedWord(" I", start, end, 0.9, [1]))  # the seam is at 1.4 s

    late = Span(174_400, 179_200)
    assert placed(1.2, 1.42, late) == pytest.approx((2.2, 2.4)), "20 ms behind it are nothing"
    at_once = Span(163_360, 179_200)
    assert placed(1.2, 1.42, at_once) == pytest.approx((2.4, 2.4))


def test_a_segment_that_begins_without_a_space_is_told_once_and_in_its_place(
    station: Station,
) -> None:
    """Chinese in a window that is taken for English: the words of each segment are its own."""
    phrases = [" Right. Okay.", "你好,今天我们开会。", "谢谢。"]
    tokens = sum(len(station.vocabulary.encode(phrase)) for phrase in phrases)
    places = [n / tokens for n in range(tokens + 1)]
    look = Look([0, 150, 300, 450], phrases, False, False, 0.0, places)
    window = Window(np.zeros(144_000, np.float32), (Span(0, 144_000),), (Span(0, 144_000),))
    plan = plan_for(station.vocabulary)
    passage = heard(WindowSource(window), plan, station.vocabulary, [look])
    segments = wired(passage, Timeline(window), plan, station.vocabulary)
    assert [segment.text for segment in segments] == [" Right.", " Okay.", *phrases[1:]]
    assert [segment.start for segment in segments] == sorted(s.start for s in segments)
    assert len(passage.looks) == 1


@settings(max_examples=150)
@given(total=st.integers(1600, 60 * 16_000), script=LOOKS, without=st.booleans())
@example(total=171_400, script=[ONE_AT_THE_END], without=False)  # ends within a millisecond
def test_words_of_a_whole_file_are_in_order_inside_their_segments_and_the_audio(
    station: Station, total: int, script: list[Look], without: bool
) -> None:
    plan = plan_for(
        station.vocabulary, vad_filter=False, word_timestamps=True, without_timestamps=without
    )
    passage = heard(file_of(total), plan, station.vocabulary, script)
    segments = wired(passage, Timeline(), plan, station.vocabulary)
    assert_words_are_in_order(segments, 0.0, total / 16_000)


@pytest.mark.parametrize("border", [2.1, 2.4, 2.9])
def test_segments_without_words_reach_over_no_silence_that_was_left_out_at_their_ends(
    station: Station, border: float
) -> None:
    """Models like to begin a segment where the last one has ended, before or behind the silence."""
    window = Window(
        np.zeros(76_800, np.float32),
        (Span(0, 38_400), Span(105_600, 144_000)),
        (Span(0, 32_000), Span(112_000, 137_600)),
    )
    at = round(border * 50)
    look = Look([0, at, 230], [" Yes.", " Good morning."] * 2, False, False, 0.0, [0.0])
    plan = plan_for(station.vocabulary, condition_on_previous_text=True)
    passage = heard(WindowSource(window), plan, station.vocabulary, [look])
    segments = wired(passage, Timeline(window), plan, station.vocabulary)
    assert [(segment.text, segment.start, segment.end) for segment in segments] == [
        (" Yes.", 0.0, min(border, 2.4)),
        (" Good morning.", max(6.6, border + 4.2), 8.8),
    ]


AT_ONE_PLACE = ONE_AT_THE_END._replace(stamps=[0, 100, 100])
SEAM_AT_2_SECONDS = Window(
    np.zeros(64_000, np.float32),
    (Span(0, 32_000), Span(96_000, 128_000)),
    (Span(0, 30_000), Span(98_000, 120_000)),
)


@settings(max_examples=50)
@given(window=windows(), script=LOOKS)
@example(window=SEAM_AT_2_SECONDS, script=[AT_ONE_PLACE])
def test_segments_without_words_end_after_they_begin_and_inside_their_window(
    station: Station, window: Window, script: list[Look]
) -> None:
    plan = plan_for(station.vocabulary, condition_on_previous_text=True)
    passage = heard(WindowSource(window), plan, station.vocabulary, script)
    for segment in wired(passage, Timeline(window), plan, station.vocabulary):
        assert segment.words is None
        assert 0.0 <= segment.start <= segment.end <= window.end


@settings(max_examples=50)
@given(total=st.integers(1600, 60 * 16_000), script=LOOKS)
@example(total=171_400, script=[ONE_AT_THE_END._replace(stamps=[0, 536])])
def test_segments_without_words_end_after_they_begin_and_inside_their_file(
    station: Station, total: int, script: list[Look]
) -> None:
    plan = plan_for(station.vocabulary, vad_filter=False)
    passage = heard(file_of(total), plan, station.vocabulary, script)
    for segment in wired(passage, Timeline(), plan, station.vocabulary):
        assert segment.words is None
        assert 0.0 <= segment.start <= segment.end <= total / 16_000


@pytest.mark.parametrize("word_timestamps", [True, False])
def test_a_long_silence_ends_a_segment_where_it_was_left_out_of_the_window_too(
    station: Station, word_timestamps: bool
) -> None:
    """Five seconds, of which the window keeps 0.8; the word after them begins in what is kept."""
    first, second = Span(0, 38_400), Span(105_600, 144_000)
    window = Window(
        np.zeros(76_800, np.float32), (first, second), (Span(0, 32_000), Span(112_000, 137_600))
    )
    tokens = station.vocabulary.encode(" one two three four")
    assert len(tokens) == 4
    places = [0, 40, 110, 170, 200]
    plan = plan_for(station.vocabulary, word_timestamps=word_timestamps)
    listener: Any = Scripted(
        station.vocabulary,
        lambda sound: Outcome(
            tokens=tuple(tokens), alignment=aligned(tokens, places, station.vocabulary.eot)
        ),
    )

    async def hear() -> list[Said]:
        passage = transcribe_passage(WindowSource(window), listener, plan, Context())
        return [said async for some, _ in passage for said in some]

    passage = Passage([(0, 0, asyncio.run(hear()))], [])
    segments = wired(passage, Timeline(window), plan, station.vocabulary)
    assert [(segment.text, segment.start, segment.end) for segment in segments] == [
        (" one two", 0.0, 2.2),
        (" three four", 7.0, 8.2),
    ]
    assert [segment.words is not None for segment in segments] == [word_timestamps] * 2
