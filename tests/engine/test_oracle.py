"""The same as faster-whisper: on the same mel, options and model, text, tokens, scores and word times."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from faster_whisper import WhisperModel
from faster_whisper.audio import decode_audio
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import TranscriptionOptions, get_suppressed_tokens
from house import DATA
from worker.audio import Samples
from worker.decoding.attempt import Attempt, Outcome, Recipe
from worker.decoding.listener import Listener, Sound
from worker.decoding.look import Said
from worker.decoding.passage import Context, transcribe_passage
from worker.decoding.plan import Plan, make_plan
from worker.decoding.station import Station
from worker.decoding.step import Step
from worker.decoding.vocabulary import Vocabulary
from worker.decoding.words import aligned_words
from worker.mel import log_mel
from worker.settings import Settings
from worker.wire import Options

SETTINGS = Settings(whisper_device="cpu")
FILES = [
    *("short/en-1.wav", "short/en-2.wav", "short/en-3.wav", "short/de-1.wav", "short/de-3.wav"),
    *("short/fr-2.wav", "short/es-2.wav", "hard/noise-10db.wav"),
]
FRAME = 0.02 + 1e-6


@pytest.fixture(scope="module")
def bare(micro: Path) -> WhisperModel:
    """The oracle."""
    return WhisperModel(str(micro), device="cpu", compute_type="float32", cpu_threads=1)


def window(file: str) -> Samples:
    return np.asarray(decode_audio(str(DATA / file))[: 30 * 16_000], np.float32)


def theirs(
    bare: WhisperModel, mel: npt.NDArray[np.float32], language: str, **changes: Any
) -> list[Any]:
    """Segments of one window of exactly this mel."""
    tokenizer = Tokenizer(bare.hf_tokenizer, True, task="transcribe", language=language)
    options = {
        "beam_size": 5,
        "best_of": 5,
        "patience": 1,
        "length_penalty": 1,
        "repetition_penalty": 1,
        "no_repeat_ngram_size": 0,
        "log_prob_threshold": -1.0,
        "no_speech_threshold": 0.6,
        "compression_ratio_threshold": 2.4,
        "condition_on_previous_text": False,
        "prompt_reset_on_temperature": 0.5,
        "temperatures": [0.0],
        "initial_prompt": None,
        "prefix": None,
        "suppress_blank": True,
        "suppress_tokens": get_suppressed_tokens(tokenizer, [-1]),
        "without_timestamps": False,
        "max_initial_timestamp": 1.0,
        "word_timestamps": False,
        "prepend_punctuations": "\"'“¿([{-",
        "append_punctuations": "\"'.。,，!！?？:：”)]}、",  # noqa: RUF001
        "multilingual": False,
        "max_new_tokens": None,
        "clip_timestamps": "0",
        "hallucination_silence_threshold": None,
        "hotwords": None,
        **changes,
    }
    # One frame more than the window: faster-whisper takes the last for padding.
    features = np.pad(mel, ((0, 0), (0, 1)))
    found = bare.generate_segments(features, tokenizer, TranscriptionOptions(**options), False)
    return list(found)


class OneWindow:
    """A passage that is one window of 30 s and nothing after it."""

    end = 3000

    def __init__(self, samples: Samples) -> None:
        self._samples = np.pad(samples, (0, 30 * 16_000 - len(samples)))

    async def read(self, seek: int, *, heard: int) -> Sound | None:
        rest = self._samples[seek * 160 :]
        return Sound(rest, seek) if len(rest) >= 160 else None


def ours(station: Station, samples: Samples, language: str, **options: Any) -> list[Said]:
    """Segments of the seek loop over one window."""
    plan = plan_for(station, language, **options)

    async def hear() -> list[Said]:
        said: list[Said] = []
        with station.scheduler.open() as lane:
            listener = Listener(lane, station.step, "test")
            context = Context(said=list(plan.prompt), prefix=plan.prefix)
            async for some, _ in transcribe_passage(OneWindow(samples), listener, plan, context):
                said += some
        return said

    return asyncio.run(hear())


def plan_for(station: Station, language: str, **options: Any) -> Plan:
    wanted = Options(
        language=language, vad_filter=False, condition_on_previous_text=False, **options
    )
    return make_plan(wanted, SETTINGS, station.vocabulary, "cpu")


def attempt(station: Station, file: str, **options: Any) -> Attempt:
    """The first attempt at the first window of a file, as it waits in the queue."""
    language = file.split("/")[1][:2]
    plan = plan_for(station, language if language in ("de", "fr", "es") else "en", **options)
    jobs: list[Attempt] = []

    class Catching:
        def submit(self, job: Attempt, *, urgent: bool = False) -> Any:
            jobs.append(job)
            raise InterruptedError

    listener = Listener(Catching(), station.step, "test")  # type: ignore[arg-type]
    with pytest.raises(InterruptedError):
        asyncio.run(listener.transcribe(Sound(window(file), 0), plan, prefix=plan.prefix))
    return jobs[0]


@pytest.mark.parametrize("file", FILES)
def test_text_tokens_and_scores_are_those_of_faster_whisper(
    station: Station, bare: WhisperModel, file: str
) -> None:
    language = file.split("/")[1][:2] if file.startswith("short") else "en"
    samples = window(file)
    expected = theirs(bare, log_mel(samples, 80), language)
    found = ours(station, samples, language)
    assert expected
    # Only the first window is of the same mel: what is heard after it is padded differently.
    first = [s for s in expected if s.seek == 0]
    assert [s.text for s in first] == [s.text for s in found if s.draft.seek == 0]
    for theirs_, ours_ in zip(first, found, strict=False):
        assert theirs_.tokens == ours_.draft.tokens
        assert (theirs_.start, theirs_.end) == pytest.approx((ours_.draft.start, ours_.draft.end))
        assert theirs_.avg_logprob == pytest.approx(ours_.outcome.avg_logprob, abs=1e-5)
        assert theirs_.no_speech_prob == pytest.approx(ours_.outcome.no_speech_prob, abs=1e-5)
        assert theirs_.compression_ratio == pytest.approx(ours_.outcome.compression_ratio)


@pytest.mark.parametrize(
    ("theirs_", "ours_"),
    [
        ({"beam_size": 1}, {"beam_size": 1}),
        ({"patience": 2.0}, {"patience": 2.0}),
        ({"length_penalty": 0.5}, {"length_penalty": 0.5}),
        ({"repetition_penalty": 1.3}, {"repetition_penalty": 1.3}),
        ({"no_repeat_ngram_size": 2}, {"no_repeat_ngram_size": 2}),
        ({"without_timestamps": True}, {"without_timestamps": True}),
        ({"max_initial_timestamp": 0.0}, {"max_initial_timestamp": 0.0}),
        ({"initial_prompt": "Vienna and Poland."}, {"prompt": "Vienna and Poland."}),
        ({"hotwords": "Vienna"}, {"hotwords": "Vienna"}),
        ({"prefix": "Our sales"}, {"prefix": "Our sales"}),
        ({"suppress_blank": False}, {"suppress_blank": False}),
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_each_option_means_what_it_means_there(
    station: Station, bare: WhisperModel, theirs_: dict[str, Any], ours_: dict[str, Any]
) -> None:
    samples = window("short/en-3.wav")
    first = [s for s in theirs(bare, log_mel(samples, 80), "en", **theirs_) if s.seek == 0]
    found = [s for s in ours(station, samples, "en", **ours_) if s.draft.seek == 0]
    heard = [token for segment in found for token in segment.draft.tokens]
    text = [token for segment in first for token in segment.tokens]
    if "without_timestamps" in ours_:  # ours are cut into sentences by their words
        heard = [token for token in heard if token < station.vocabulary.eot]
        text = [token for token in text if token < station.vocabulary.eot]
    assert heard == text
    assert found[0].outcome.avg_logprob == pytest.approx(first[0].avg_logprob, abs=1e-5)


@pytest.mark.parametrize("file", FILES)
def test_words_are_where_faster_whisper_finds_them(
    station: Station, bare: WhisperModel, file: str
) -> None:
    language = file.split("/")[1][:2] if file.startswith("short") else "en"
    samples = window(file)
    expected = theirs(bare, log_mel(samples, 80), language, word_timestamps=True)
    found = ours(station, samples, language, word_timestamps=True)
    words = [w for s in expected if s.seek == 0 for w in s.words]
    heard = [w for s in found if s.draft.seek == 0 for w in s.draft.words or []]
    assert [w.word for w in words] == [w.word for w in heard]
    for theirs_, ours_ in zip(words, heard, strict=True):
        assert abs(theirs_.start - ours_.start) <= FRAME
        assert abs(theirs_.end - ours_.end) <= FRAME
        assert theirs_.probability == pytest.approx(ours_.probability, abs=1e-4)


@pytest.mark.parametrize("frames", [None, 3000], ids=["as long as they are", "all of 30 s"])
def test_a_batch_of_languages_gives_each_window_what_it_gets_alone(
    station: Station, frames: int | None
) -> None:
    batch = [attempt(station, file, word_timestamps=True) for file in FILES[:7]]
    batch = [replace(one, frames=frames or one.frames) for one in batch]
    alone = [station.step([one])[0] for one in batch]
    together = station.step(batch)
    for one, other in zip(alone, together, strict=True):
        assert one.tokens == other.tokens
        assert one.avg_logprob == pytest.approx(other.avg_logprob, abs=1e-4)
        assert one.no_speech_prob == pytest.approx(other.no_speech_prob, abs=1e-5)
        assert one.alignment is not None
        assert other.alignment is not None
        # The last of 1500 frames is left to the padding, see `engine.align`.
        pairs = [
            [pair for pair in found if pair[1] < 1499]
            for found in (one.alignment.pairs, other.alignment.pairs)
        ]
        assert pairs[0] == pairs[1]


@pytest.mark.parametrize("temperature", [0, 0.4])
def test_requests_that_share_a_batch_keep_what_is_their_own(
    station: Station, temperature: float
) -> None:
    """Task, words, thresholds; what is drawn at random is compared by what comes with it."""
    asked: list[tuple[str, dict[str, Any]]] = [
        ("short/en-1.wav", {"word_timestamps": True}),
        ("short/de-1.wav", {"task": "translate"}),
        ("hard/silence-20s.wav", {}),
        ("short/fr-2.wav", {"log_prob_threshold": 0.0, "no_speech_threshold": 1.0}),
    ]
    batch = [attempt(station, file, temperature=temperature, **more) for file, more in asked]
    assert len({one.key for one in batch}) == 1
    alone = [station.step([one])[0] for one in batch]
    together = station.step(batch)
    for one, other in zip(alone, together, strict=True):
        assert one.no_speech_prob == pytest.approx(other.no_speech_prob, abs=1e-5)
        assert one.needs_fallback == other.needs_fallback
        assert (one.alignment is None) == (other.alignment is None)
        if not temperature:
            assert one.tokens == other.tokens
            assert one.avg_logprob == pytest.approx(other.avg_logprob, abs=1e-4)
    assert [outcome.alignment is not None for outcome in together] == [True, False, False, False]
    assert [outcome.needs_fallback for outcome in together][-1]


@pytest.mark.parametrize("hints", [{"prefix": " It is"}, {"hotwords": "Vienna"}, {"beam_size": 1}])
def test_what_a_batch_takes_once_keeps_requests_apart(
    station: Station, hints: dict[str, Any]
) -> None:
    plain = attempt(station, "short/en-1.wav")
    assert plain.key == attempt(station, "short/en-2.wav").key
    assert plain.key != attempt(station, "short/en-1.wav", **hints).key


def test_the_language_of_each_window_of_a_batch_is_heard_for_itself(station: Station) -> None:
    files = ["short/en-3.wav", "short/de-1.wav", "short/fr-2.wav", "short/es-2.wav"]
    batch = [attempt(station, file, multilingual=True) for file in files]
    outcomes: list[Outcome] = station.step(batch)
    assert [next(iter(outcome.languages)) for outcome in outcomes] == ["en", "de", "fr", "es"]
    texts = [station.vocabulary.decode(outcome.tokens) for outcome in outcomes]
    assert texts[1] == " Schalte das Radio an, dort ist das Restaurant."


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_words_of_a_scrap_have_times_however_short_it_is(station: Station, frames: int) -> None:
    """What is left of a file may be 10 ms, which is less than one frame of the alignment."""
    vocabulary = station.vocabulary
    asked = Attempt(
        recipe=Recipe("align"),
        mel=log_mel(np.zeros(160, np.float32), 80),
        prompt=(),
        start=tuple(vocabulary.start("en", "transcribe")),
        frames=frames,
        description="test",
        text_tokens=tuple(vocabulary.encode(" Good morning.")),
    )
    [outcome] = station.step([asked])
    assert outcome.alignment is not None
    size = len(outcome.alignment.tokens)
    [words] = aligned_words(outcome.alignment, vocabulary.tokenizer("en", "transcribe"), [size])
    assert [word.word for word in words] == [" Good", " morning", "."]
    assert all(abs(word.start) <= 0.02 and abs(word.end) <= 0.02 for word in words)


def test_no_window_is_taken_for_silent_because_the_one_beside_it_is(
    station: Station, micro: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no token follows the start token, CTranslate2 gives samples the first window's probability."""
    vocabulary = Vocabulary(micro, multilingual=False)
    monkeypatch.setattr(station, "vocabulary", vocabulary)
    monkeypatch.setattr(station, "step", step := Step(station.engine, vocabulary))
    files = ["hard/silence-20s.wav", "short/en-1.wav"]
    batch = [attempt(station, file, temperature=0.2) for file in files]
    assert all(len(one.start) == 1 for one in batch)
    silent, spoken = (step([one])[0].no_speech_prob for one in batch)
    assert silent > 0.9
    assert spoken < 0.1
    if step(batch)[1].no_speech_prob > 0.9:
        assert batch[0].key != batch[1].key, "they share no batch"
    beams = [attempt(station, file) for file in files]
    assert beams[0].key == beams[1].key
    assert step(beams)[1].no_speech_prob < 0.1
