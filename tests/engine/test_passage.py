"""What is heard is told: a text that does not fit is heard in parts, and no text is lost on the way."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from faster_whisper.audio import decode_audio
from house import DATA
from scripted import Scripted, aligned
from worker.audio import Samples
from worker.decoding.attempt import Attempt, Outcome
from worker.decoding.language import HeardLanguage
from worker.decoding.listener import Listener, Sound
from worker.decoding.passage import Context, Source, transcribe_passage
from worker.decoding.plan import Plan, make_plan
from worker.decoding.sources import FileSource, WindowSource
from worker.decoding.station import Station
from worker.decoding.vocabulary import Vocabulary
from worker.settings import Settings
from worker.transcribe.segments import Timeline, wire_segment
from worker.vad import Span
from worker.windows import Window
from worker.wire import Options, Segment

FRAMES_THAT_FIT = 700


class LimitedListener(Listener):
    """Says only the beginning of what is longer than FRAMES_THAT_FIT, as the token limit does."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked: list[tuple[int, int]] = []

    async def transcribe(self, sound: Sound, plan: Plan, **told: Any) -> Outcome:
        self.asked.append((sound.seek, sound.frames))
        outcome = await super().transcribe(sound, plan, **told)
        if sound.frames <= FRAMES_THAT_FIT:
            return outcome
        return replace(outcome, tokens=outcome.tokens[:4], cut_off=True)


class Recording:
    """A passage of samples and nothing after them."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self.end = len(samples) // 160

    async def read(self, seek: int, *, heard: int) -> Sound | None:
        rest = self._samples[seek * 160 :]
        return Sound(rest, seek) if len(rest) >= 3200 else None


def test_a_text_that_does_not_fit_is_heard_in_parts_and_lost_nowhere(station: Station) -> None:
    samples = np.asarray(decode_audio(str(DATA / "short/en-3.wav")), np.float32)
    options = Options(language="en", condition_on_previous_text=False, without_timestamps=False)
    plan = make_plan(options, Settings(whisper_models=["micro"]), station.vocabulary, "cpu")

    async def hear() -> tuple[list[str], list[tuple[int, int]]]:
        texts: list[str] = []
        with station.scheduler.open() as lane:
            listener = LimitedListener(lane, station.step, "test")
            passage = transcribe_passage(Recording(samples), listener, plan, Context())
            async for said, _ in passage:
                texts += [segment.text for segment in said]
        return texts, listener.asked

    texts, asked = asyncio.run(hear())
    words = re.findall(r"\w+", " ".join(texts).lower())
    assert asked[0] == (0, 984)
    assert 246 <= asked[1][1] <= 738, "cut between a quarter and three quarters"
    assert max(seek + frames for seek, frames in asked) == 984
    for word in ("sales", "orders", "friday", "weather", "vienna", "today", "hello", "poland"):
        assert words.count(word) == 1


def texts(source: Source, listener: Any, plan: Plan, *prompt: int) -> list[str]:
    """What is said in a passage, segment by segment."""

    async def hear() -> list[str]:
        passage = transcribe_passage(source, listener, plan, Context(said=list(prompt)))
        return [said.text async for some, _ in passage for said in some]

    return asyncio.run(hear())


def told(
    station: Station, seconds: float, outcome: Outcome, **options: Any
) -> tuple[list[Segment], list[tuple[int, int]]]:
    """The segments of a passage of silence in which every look hears the same, and the looks."""
    wanted = Options(**{"language": "en", "condition_on_previous_text": False, **options})
    plan = make_plan(wanted, Settings(whisper_models=["micro"]), station.vocabulary, "cpu")
    listener: Any = Scripted(station.vocabulary, lambda sound: outcome)
    source = Recording(np.zeros(round(seconds * 16_000), np.float32))

    async def hear() -> list[Segment]:
        return [
            wire_segment(
                said, number=0, timeline=Timeline(), plan=plan, vocabulary=station.vocabulary
            )
            async for some, _ in transcribe_passage(source, listener, plan, Context())
            for said in some
        ]

    return asyncio.run(hear()), listener.asked


def test_after_a_text_that_never_ends_what_follows_is_heard_in_short_pieces_at_once(
    station: Station,
) -> None:
    """Each piece is tried at six temperatures, and music may go on for minutes."""
    endless = Outcome(tokens=tuple(station.vocabulary.encode(" la la la")), cut_off=True)
    _, asked = told(station, 30.0, endless, without_timestamps=True)
    starts = {seek for seek, _ in asked}
    assert len(asked) < 2 * len(starts), "most pieces are heard once"
    assert max(frames for seek, frames in asked if seek) <= 800


def test_a_long_text_that_is_taken_for_silence_is_not_heard_again_in_pieces(
    station: Station,
) -> None:
    """The reference passes over such a window, whatever its text is."""
    tokens = tuple(station.vocabulary.encode(" la la la"))
    silence = Outcome(tokens=tokens, cut_off=True, no_speech_prob=0.9, avg_logprob=-1.3)
    segments, asked = told(station, 30.0, silence, without_timestamps=True)
    assert (segments, asked) == ([], [(0, 3000)])


def test_a_sentence_whose_words_have_no_length_keeps_its_text(station: Station) -> None:
    vocabulary = station.vocabulary
    parts = {" Good": 0, " morning": 20, ".": 45, " Yes": 45, ". ": 45, " It": 45, " is": 60}
    spoken = [(vocabulary.encode(text.rstrip()), at) for text, at in parts.items()]
    places = [at for part, at in spoken for _ in part]
    tokens = [token for part, _ in spoken for token in part]
    outcome = Outcome(
        tokens=tuple(tokens), alignment=aligned(tokens, [*places, 70], vocabulary.eot)
    )
    segments, _ = told(station, 2.0, outcome, word_timestamps=True, without_timestamps=True)
    assert [(segment.text, segment.start, segment.end) for segment in segments] == [
        (" Good morning.", 0.0, 0.9),
        (" Yes.", 0.9, 0.9),
        (" It is", 0.9, 1.4),
    ]


@pytest.mark.parametrize("without_timestamps", [False, True])
@pytest.mark.parametrize(
    ("options", "looks"),
    [
        ({}, [(0, 1000), (280, 720), (560, 440)]),
        ({"task": "translate"}, [(0, 1000)]),
    ],
    ids=["cut by the VAD", "translated"],
)
def test_what_is_said_after_a_text_that_ends_too_early_is_heard_too(
    station: Station,
    options: dict[str, Any],
    looks: list[tuple[int, int]],
    without_timestamps: bool,
) -> None:
    zero = station.vocabulary.timestamp_begin
    tokens = station.vocabulary.encode(" Good morning.")
    places = [0, 75, 140][: len(tokens)]
    outcome = Outcome(
        tokens=tuple(tokens) if without_timestamps else (zero, *tokens, zero + 150),
        alignment=aligned(tokens, [*places, 150], station.vocabulary.eot),
    )
    options = {**options, "word_timestamps": True, "without_timestamps": without_timestamps}
    segments, asked = told(station, 10.0, outcome, **options)
    assert asked == looks
    assert [segment.text for segment in segments] == [" Good morning."] * len(looks)


def test_behind_a_text_of_little_more_than_a_second_the_rest_is_heard_once_more(
    station: Station,
) -> None:
    """It may not stand for a whole window; but over music each look would invent another such text."""
    tokens = station.vocabulary.encode(" Good morning.")
    places = [0, 30, 55, 70][-len(tokens) - 1 :]
    outcome = Outcome(
        tokens=tuple(tokens), alignment=aligned(tokens, places, station.vocabulary.eot)
    )
    _, asked = told(station, 6.0, outcome, without_timestamps=True)
    assert [seek for seek, _ in asked] == [0, 110]


@pytest.mark.parametrize("without_timestamps", [False, True])
def test_text_around_a_character_that_lacks_a_byte_is_told_once_and_whole(
    station: Station, without_timestamps: bool
) -> None:
    """Whisper writes such when it samples, and in scripts of many bytes."""
    vocabulary = station.vocabulary
    emoji = vocabulary.encode("🙂")
    assert len(emoji) > 2, "its bytes"
    text = [
        *vocabulary.encode(" Yes. I like it"),
        *emoji[:-1],
        *vocabulary.encode(" here. And there."),
    ]
    zero, places = vocabulary.timestamp_begin, list(range(0, 25 * len(text) + 1, 25))
    tokens = text if without_timestamps else [zero, *text, zero + places[-1]]
    outcome = Outcome(tokens=tuple(tokens), alignment=aligned(text, places, vocabulary.eot))
    seconds = places[-1] / 50
    segments, asked = told(
        station, seconds, outcome, word_timestamps=True, without_timestamps=without_timestamps
    )
    assert len(asked) == 1
    assert [segment.text.replace("�", "") for segment in segments] == [
        " Yes.",
        " I like it here.",
        " And there.",
    ]
    said = [word.word.replace("�", "") for segment in segments for word in segment.words or []]
    assert said == [" Yes.", " I", " like", " it", " here.", " And", " there."]


@pytest.mark.parametrize(
    ("options", "looks"),
    [
        ({"without_timestamps": False, "word_timestamps": True}, [(0, 1000)]),
        ({"without_timestamps": True, "word_timestamps": False}, [(0, 1000)]),
        (
            {"without_timestamps": True, "word_timestamps": True},
            [(0, 1000), (280, 720), (560, 440), (840, 160)],
        ),
    ],
    ids=["closed", "no words wanted", "open"],
)
def test_a_whole_file_goes_on_at_the_last_word_where_faster_whisper_does(
    station: Station, options: dict[str, Any], looks: list[tuple[int, int]]
) -> None:
    zero = station.vocabulary.timestamp_begin
    tokens = station.vocabulary.encode(" Good morning.")
    places = [0, 75, 140][: len(tokens)]
    outcome = Outcome(
        tokens=tuple(tokens) if options["without_timestamps"] else (zero, *tokens, zero + 150),
        alignment=aligned(tokens, [*places, 150], station.vocabulary.eot),
    )
    _, asked = told(station, 10.0, outcome, vad_filter=False, **options)
    assert asked == looks


@pytest.mark.parametrize(
    ("vad_filter", "looks"),
    [(True, [(0, 1000)]), (False, [(0, 1000), (280, 720), (560, 440), (840, 160)])],
)
def test_the_last_word_of_an_open_translation_is_no_place_to_go_on_in_a_window_of_the_vad(
    station: Station, vad_filter: bool, looks: list[tuple[int, int]]
) -> None:
    """In a whole file it is, as in faster-whisper."""
    tokens = station.vocabulary.encode(" Good morning.")
    places = [0, 75, 140][: len(tokens)]
    outcome = Outcome(
        tokens=(station.vocabulary.timestamp_begin, *tokens),
        alignment=aligned(tokens, [*places, 150], station.vocabulary.eot),
    )
    options = {"task": "translate", "word_timestamps": True, "vad_filter": vad_filter}
    _, asked = told(station, 10.0, outcome, **options)
    assert asked == looks


def test_a_translation_is_in_english_words_whatever_language_is_spoken(station: Station) -> None:
    """Text in Japanese is told character by character, since it has no spaces."""
    tokens = station.vocabulary.encode(" Our Transylvanian ferry")
    assert len(tokens) > 3
    outcome = Outcome(
        tokens=tuple(tokens),
        alignment=aligned(tokens, range(len(tokens) + 1), station.vocabulary.eot),
    )
    options = {"task": "translate", "word_timestamps": True, "without_timestamps": True}
    segments, _ = told(station, 2.0, outcome, language="ja", **options)
    words = [word.word for segment in segments for word in segment.words or []]
    assert words == [" Our", " Transylvanian", " ferry"]


def test_a_short_window_whose_text_never_ends_is_told_with_a_doubt(station: Station) -> None:
    tokens = tuple(station.vocabulary.encode(" No ferry sails to that green island."))
    outcome = Outcome(tokens=tokens, cut_off=True)
    segments, asked = told(station, 3.0, outcome, without_timestamps=False)
    assert asked == [(0, 300)]
    assert [(segment.text, segment.flags) for segment in segments] == [
        (" No ferry sails to that green island.", ["repetition"])
    ]


def test_the_loop_goes_on_where_a_model_wants_to_hear_the_same_again(station: Station) -> None:
    vocabulary = station.vocabulary
    zero = vocabulary.timestamp_begin
    tokens = (zero, zero, *vocabulary.encode(" Once"))
    segments, asked = told(station, 2.0, Outcome(tokens=tokens), without_timestamps=False)
    assert asked == [(0, 200)]
    assert [(segment.text, segment.start, segment.end) for segment in segments] == [
        (" Once", 0.0, 2.0)
    ]


GOOD = " We sold nine red boats in Vienna last Friday."
INVENTED = " the end of that old song"


def good_then_invented(vocabulary: Vocabulary, seconds: float, *, timestamps: bool) -> Outcome:
    """Nine clear words, a long pause, and six unlikely ones where a window of `seconds` ends."""
    good, invented = vocabulary.encode(GOOD), vocabulary.encode(INVENTED)
    tokens, last = [*good, *invented], round(seconds * 50)
    places = [*range(0, 10 * len(good), 10), *range(last - 4 * len(invented), last + 1, 4)]
    probabilities = (0.9,) * len(good) + (0.05,) * len(invented)
    alignment = replace(aligned(tokens, places, vocabulary.eot), probabilities=probabilities)
    if timestamps:
        zero = vocabulary.timestamp_begin
        begin, end = zero + places[len(good)], zero + last
        tokens = [zero, *good, zero + 10 * len(good), begin, *invented, end]
    return Outcome(tokens=tuple(tokens), alignment=alignment)


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("seconds", [12.0, 30.0])
def test_what_is_invented_after_a_silence_is_left_out_of_a_window_of_the_vad(
    station: Station, seconds: float, timestamps: bool
) -> None:
    outcome = good_then_invented(station.vocabulary, seconds, timestamps=timestamps)
    options = {"word_timestamps": True, "without_timestamps": not timestamps}
    segments, _ = told(station, seconds, outcome, **options)
    assert [segment.text for segment in segments] == [GOOD, INVENTED]
    segments, asked = told(
        station, seconds, outcome, hallucination_silence_threshold=2.0, **options
    )
    assert [segment.text for segment in segments] == [GOOD]
    assert asked == [(0, round(seconds * 100))]


def test_the_begin_of_a_window_of_the_vad_is_no_silence_before_unlikely_words(
    station: Station,
) -> None:
    """It was cut in a pause of somebody's speech; only the begin of a file is."""
    vocabulary = station.vocabulary
    good, rare = vocabulary.encode(GOOD), vocabulary.encode(INVENTED)
    tokens = [*good, *rare, *rare]
    first = 150  # at 3 s
    places = [*range(0, first, first // len(good))][: len(good)]
    places += [first + 10 * n for n in range(2 * len(rare) + 1)]
    probabilities = (0.9,) * len(good) + (0.05,) * (2 * len(rare))
    alignment = replace(aligned(tokens, places, vocabulary.eot), probabilities=probabilities)
    zero, middle = vocabulary.timestamp_begin, first + 10 * len(rare)
    stamped = [zero, *good, zero + first, zero + first, *rare, zero + middle, zero + middle, *rare,
               zero + places[-1]]  # fmt: skip
    outcome = Outcome(tokens=tuple(stamped), alignment=alignment)
    segments, _ = told(
        station,
        places[-1] / 50 + 4.0,
        outcome,
        word_timestamps=True,
        without_timestamps=False,
        hallucination_silence_threshold=5.0,
    )
    assert [segment.text for segment in segments][:3] == [GOOD, INVENTED, INVENTED]


def test_a_short_word_behind_what_was_left_out_as_invented_is_heard(station: Station) -> None:
    """It stood in no text that was taken, although its window was heard to the end."""
    vocabulary = station.vocabulary
    outcome = good_then_invented(vocabulary, 6.0, timestamps=False)
    yes = vocabulary.encode(" Yes.")
    rest = Outcome(tokens=tuple(yes), alignment=aligned(yes, [0, 5, 10], vocabulary.eot))
    listener: Any = Scripted(vocabulary, lambda sound: rest if sound.seek else outcome)
    samples = np.zeros(12 * 16_000, np.float32)
    spoken = (Span(0, 40_000), Span(188_000, 192_000))
    window = Window(samples, (Span(0, len(samples)),), spoken)
    options = Options(
        language="en",
        word_timestamps=True,
        without_timestamps=True,
        hallucination_silence_threshold=2.0,
    )
    plan = make_plan(options, Settings(whisper_models=["micro"]), vocabulary, "cpu")

    assert texts(WindowSource(window), listener, plan) == [GOOD, " Yes."]


def test_words_that_alignment_puts_at_the_start_of_a_window_do_not_make_it_look_for_ever(
    station: Station,
) -> None:
    """Text that is invented over noise is aligned so."""
    tokens = station.vocabulary.encode(" Thank you")
    zero = station.vocabulary.timestamp_begin
    outcome = Outcome(
        tokens=(zero, *tokens), alignment=aligned(tokens, [0, 1, 2], station.vocabulary.eot)
    )
    segments, asked = told(station, 30.0, outcome)
    assert asked == [(0, 3000)]
    assert [segment.text for segment in segments] == [" Thank you"]


@pytest.mark.parametrize("log_prob_threshold", [-1.0, 0.0], ids=["sure", "doubtful"])
def test_what_the_encoder_gave_is_held_no_longer_than_the_text_takes(
    station: Station, log_prob_threshold: float
) -> None:
    samples = np.asarray(decode_audio(str(DATA / "short/en-1.wav")), np.float32)
    options = Options(log_prob_threshold=log_prob_threshold, no_speech_threshold=1.0)
    plan = make_plan(options, Settings(whisper_models=["micro"]), station.vocabulary, "cpu")

    async def hear() -> tuple[Outcome, Outcome]:
        with station.scheduler.open() as lane:
            listener = Listener(lane, station.step, "test")
            heard = await listener.detect_language(Sound(samples, 0), plan)
            sound = Sound(samples, 0, encoded=heard.encoded)
            return heard, await listener.transcribe(sound, plan.in_language("en"))

    heard, outcome = asyncio.run(hear())
    assert heard.encoded is not None, "the text is decoded from the same"
    assert outcome.alignment is not None
    assert outcome.encoded is None


class Noting(Scripted):
    """Remembers what each look is told beforehand."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.told: list[list[int]] = []

    async def transcribe(self, sound: Sound, plan: Plan, **told: Any) -> Outcome:
        self.told.append(list(told["previous"]))
        return await super().transcribe(sound, plan, **told)


@pytest.mark.parametrize(
    ("strategy", "is_told_again"),
    [({"vad_filter": True}, True), ({"vad_filter": False}, False)],
    ids=["cut by the VAD", "a whole file"],
)
def test_the_prompt_goes_to_every_look_at_a_window_cut_by_the_vad_and_to_the_first_of_a_file(
    station: Station, strategy: dict[str, Any], is_told_again: bool
) -> None:
    vocabulary = station.vocabulary
    options = Options(language="en", prompt="Vienna", condition_on_previous_text=False, **strategy)
    plan = make_plan(options, Settings(whisper_models=["micro"]), vocabulary, "cpu")
    tokens = tuple(vocabulary.encode(" Yes."))
    listener: Any = Noting(
        vocabulary,
        lambda sound: Outcome(tokens=tokens, cut_off=sound.frames > FRAMES_THAT_FIT),
    )
    source = Recording(np.zeros(9 * 16_000, np.float32))

    texts(source, listener, plan, *plan.prompt)
    prompt = vocabulary.encode(" Vienna")
    assert listener.asked == [(0, 900), (0, 225), (225, 675)]
    assert listener.told == [prompt, prompt, prompt if is_told_again else []]


@pytest.mark.parametrize("conditioned", [False, True])
def test_a_prompt_waits_for_the_first_text_that_is_taken(
    station: Station, conditioned: bool
) -> None:
    """As in the reference, a look that only passes over a silence before invented text tells nothing.

    Nor does it make forget what was said, whatever temperature the text has needed.
    """
    vocabulary = station.vocabulary
    plan = make_plan(
        Options(
            language="en",
            prompt="Vienna",
            vad_filter=False,
            condition_on_previous_text=conditioned,
            word_timestamps=True,
            hallucination_silence_threshold=2.0,
        ),
        Settings(whisper_models=["micro"]),
        vocabulary,
        "cpu",
    )
    tokens = vocabulary.encode(" Yes no")
    alignments = [
        replace(aligned(tokens, [150, 160, 170], vocabulary.eot), probabilities=(0.01, 0.01)),
        aligned(tokens, [0, 25, 50], vocabulary.eot),
        aligned(tokens, [0, 25, 50], vocabulary.eot),
    ]
    zero = vocabulary.timestamp_begin
    coming, temperatures = iter(alignments), iter([0.6, 0.0, 0.0])
    said = (zero, *tokens, zero + 500)
    listener: Any = Noting(
        vocabulary,
        lambda sound: Outcome(tokens=said, alignment=next(coming), temperature=next(temperatures)),
    )
    source = FileSource(iter_blocks(43))

    assert texts(source, listener, plan, *plan.prompt) == [" Yes no", " Yes no"]
    assert listener.asked == [(0, 3000), (300, 3000), (3300, 1000)]
    prompt = vocabulary.encode(" Vienna")
    assert listener.told == [prompt, prompt, [*prompt, *said] if conditioned else []]


def iter_blocks(seconds: int) -> Callable[[], Awaitable[Samples | None]]:
    """Silence of so many seconds, as a file is read."""
    blocks = iter([np.zeros(16_000, np.float32)] * seconds)

    async def following() -> Samples | None:
        return next(blocks, None)

    return following


def test_of_what_was_said_no_more_is_kept_than_a_window_is_told(station: Station) -> None:
    vocabulary = station.vocabulary
    plan = make_plan(
        Options(language="en", vad_filter=False),
        Settings(whisper_models=["micro"]),
        vocabulary,
        "cpu",
    )
    zero = vocabulary.timestamp_begin
    tokens = (zero, *vocabulary.encode(" Good morning." * 20), zero + 1500)
    listener: Any = Noting(vocabulary, lambda sound: Outcome(tokens=tokens))
    context = Context()

    async def hear() -> None:
        async for _ in transcribe_passage(FileSource(iter_blocks(300)), listener, plan, context):
            pass

    asyncio.run(hear())
    assert len(listener.asked) == 10
    assert context.said == [*tokens * 10][-223:]
    assert listener.told[-1] == [*tokens * 9][-223:]


def test_an_unlikely_name_that_is_all_of_a_short_window_is_kept(station: Station) -> None:
    """There is no silence of that length around it: that the window ends says nothing."""
    name = station.vocabulary.encode(" Oliver Clara")
    zero = station.vocabulary.timestamp_begin
    alignment = aligned(name, [20, 60, 100], station.vocabulary.eot)
    outcome = Outcome(
        tokens=(zero + 20, *name, zero + 100),
        alignment=replace(alignment, probabilities=(0.05,) * len(name)),
    )
    segments, asked = told(
        station,
        2.4,
        outcome,
        word_timestamps=True,
        without_timestamps=False,
        hallucination_silence_threshold=10.0,
    )
    assert [segment.text for segment in segments] == [" Oliver Clara"]
    assert asked == [(0, 240)]


def test_clear_text_behind_what_was_invented_near_the_end_of_a_window_is_heard(
    station: Station,
) -> None:
    vocabulary = station.vocabulary
    zero = vocabulary.timestamp_begin
    good, hm, yes = (vocabulary.encode(text) for text in (GOOD, " song", " Yes, of course."))
    step = 250 // len(good)  # to 5 s
    places = [*range(0, step * len(good), step), 340, *range(350, 350 + 8 * len(yes) + 1, 8)]
    probabilities = (0.9,) * len(good) + (0.05,) * len(hm) + (0.9,) * len(yes)
    tokens = [*good, *hm, *yes]
    alignment = replace(aligned(tokens, places, vocabulary.eot), probabilities=probabilities)
    stamped = [zero, *good, zero + 250, zero + 340, *hm, zero + 341, zero + 350, *yes, zero + 390]
    first = Outcome(tokens=tuple(stamped), alignment=alignment)
    again = Outcome(
        tokens=(zero, *yes, zero + 50),
        alignment=aligned(yes, range(10, 10 + 8 * len(yes) + 1, 8), vocabulary.eot),
    )
    listener: Any = Scripted(vocabulary, lambda sound: again if sound.seek else first)
    samples = np.zeros(round(8.2 * 16_000), np.float32)
    window = Window(samples, (Span(0, len(samples)),), (Span(0, len(samples)),))
    options = Options(
        language="en",
        word_timestamps=True,
        without_timestamps=False,
        hallucination_silence_threshold=1.5,
    )
    plan = make_plan(options, Settings(whisper_models=["micro"]), vocabulary, "cpu")

    assert texts(WindowSource(window), listener, plan) == [GOOD, " Yes, of course."]


def test_the_rest_of_a_window_is_in_the_language_of_the_window(station: Station) -> None:
    """Of a scrap a model guesses, and where only some languages are taken the guess would end the request."""
    vocabulary = station.vocabulary
    plans: list[tuple[str | None, bool]] = []

    class Planned(Scripted):
        async def transcribe(self, sound: Sound, plan: Plan, **told: Any) -> Outcome:
            plans.append((plan.language, plan.options.multilingual))
            return await super().transcribe(sound, plan, **told)

    options = Options(multilingual=True, languages=["de", "en"], on_other_language="reject")
    plan = make_plan(options, Settings(whisper_models=["micro"]), vocabulary, "cpu")
    outcome = Outcome(
        tokens=tuple(vocabulary.encode(" Ja.")),
        language=HeardLanguage("de", 0.98),
        languages={"de": 0.98},
    )
    listener: Any = Planned(
        vocabulary, lambda sound: replace(outcome, cut_off=sound.frames > FRAMES_THAT_FIT)
    )

    async def hear() -> set[str]:
        source = Recording(np.zeros(9 * 16_000, np.float32))
        passage = transcribe_passage(source, listener, plan, Context())
        return {said.language async for some, _ in passage for said in some}

    assert asyncio.run(hear()) == {"de"}
    assert plans == [(None, True), ("de", False), ("de", False)]


def test_a_window_without_text_is_in_no_language_that_could_be_refused(station: Station) -> None:
    """It is no silence by Whisper's rule, and the language that a model hears in it is a guess."""
    vocabulary, step = station.vocabulary, station.step
    heard = iter([("en", (*vocabulary.encode(" Hello there."), vocabulary.timestamp_begin + 1500)),
                  ("la", ())])  # fmt: skip

    class Guessing:
        def submit(self, job: Attempt, *, urgent: bool = False) -> Future[Outcome]:
            code, said = next(heard)
            future = Future[Outcome]()
            tokens = (vocabulary.timestamp_begin, *said)
            future.set_result(Outcome(tokens=tokens, languages={code: 0.3}, no_speech_prob=0.5))
            return future

    options = Options(
        multilingual=True, languages=["en"], on_other_language="reject", vad_filter=False
    )
    plan = make_plan(options, Settings(whisper_models=["micro"]), vocabulary, "cpu")
    lane: Any = Guessing()
    listener = Listener(lane, step, "test")
    assert texts(FileSource(iter_blocks(60)), listener, plan) == [" Hello there."]
    assert next(heard, None) is None


@pytest.mark.parametrize("doubtful", ["flag", "drop"])
def test_what_is_dropped_as_invented_does_not_steer_what_follows(
    station: Station, doubtful: Any
) -> None:
    vocabulary = station.vocabulary
    options = Options(language="en", vad_filter=False, doubtful=doubtful)
    plan = make_plan(options, Settings(whisper_models=["micro"]), vocabulary, "cpu")
    zero = vocabulary.timestamp_begin
    tokens = (zero, *vocabulary.encode(" No, no, no, no, no."), zero + 1500)
    listener: Any = Noting(vocabulary, lambda sound: Outcome(tokens=tokens))

    texts(FileSource(iter_blocks(60)), listener, plan)
    assert listener.told == [[], [] if doubtful == "drop" else [*tokens]]
