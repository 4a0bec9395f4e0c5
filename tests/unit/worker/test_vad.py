"""The stream of speech spans is faster-whisper's whole-file answer, told early."""

import io
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from faster_whisper.audio import decode_audio
from faster_whisper.vad import VadOptions, get_speech_timestamps, get_vad_model
from house import DATA
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import printed_by
from worker.vad import FRAME, Span, SpeechProbabilities, SpeechSpans

FILES = [
    "long/en-90s.flac",
    "long/de-90s.flac",
    "hard/40s-pause.wav",
    "hard/noise-10db.wav",
    "real/jfk.flac",
]
OPTIONS = {
    "the defaults": VadOptions(),
    "short silences": VadOptions(min_silence_duration_ms=160, max_speech_duration_s=30),
    "no padding": VadOptions(min_silence_duration_ms=100, speech_pad_ms=0),
    "odd padding": VadOptions(min_silence_duration_ms=300, speech_pad_ms=333),
    "short spans": VadOptions(
        max_speech_duration_s=4, min_silence_duration_ms=500, speech_pad_ms=100
    ),
    "a high bar": VadOptions(threshold=0.9, neg_threshold=0.7, min_speech_duration_ms=400),
    "long speech only": VadOptions(min_speech_duration_ms=1000, min_silence_duration_ms=200),
    "a low bar": VadOptions(threshold=0.1, min_silence_duration_ms=50, speech_pad_ms=30),
}


@cache
def loaded(name: str) -> np.ndarray:
    return np.asarray(decode_audio(io.BytesIO((DATA / name).read_bytes())))


@cache
def reference_probabilities(name: str) -> np.ndarray:
    samples = loaded(name)
    padded = np.pad(samples, (0, FRAME - len(samples) % FRAME))
    return np.asarray(get_vad_model()(padded)).reshape(-1)


def streamed(samples: np.ndarray, sizes: list[int]) -> np.ndarray:
    vad, found, start = SpeechProbabilities(), [], 0
    for size in sizes * (len(samples) // sum(sizes) + 1):
        found.append(vad.push(samples[start : start + size]))
        start += size
    return np.concatenate([*found, vad.finish()])


@pytest.mark.parametrize("sizes", [[32000], [100, 7000, 512, 1, 31999]], ids=["even", "odd"])
@pytest.mark.parametrize("name", FILES)
def test_probabilities_of_a_stream_are_those_of_the_whole_file(name: str, sizes: list[int]) -> None:
    samples = loaded(name)
    found, expected = streamed(samples, sizes), reference_probabilities(name)
    assert found.shape == expected.shape
    assert float(np.abs(found - expected).max()) < 1e-4


class _Answers:
    """Stands in for Silero in the reference: answers the numbers that it was given."""

    def __init__(self, probabilities: np.ndarray) -> None:
        self.probabilities = probabilities

    def __call__(self, audio: np.ndarray) -> np.ndarray:
        return self.probabilities


def reference_spans(
    monkeypatch: pytest.MonkeyPatch, probabilities: np.ndarray, total: int, options: VadOptions
) -> list[Span]:
    monkeypatch.setattr("faster_whisper.vad.get_vad_model", lambda: _Answers(probabilities))
    found = get_speech_timestamps(np.zeros(total, np.float32), options)
    return [Span(span["start"], span["end"]) for span in found]


def spans_of(probabilities: np.ndarray, total: int, options: VadOptions, block: int) -> list[Span]:
    """Feed block by block, and hold every promise made on the way to account."""
    spans, promises = SpeechSpans(options), []
    found: list[Span] = []
    for start in range(0, len(probabilities), block):
        found += spans.push(probabilities[start : start + block])
        promises.append((spans.settled, [*found, *([spans.certain] if spans.certain else [])]))
    found += spans.finish(total)
    for settled, told in promises:
        assert [_before(span, settled) for span in told] == [
            _before(span, settled) for span in found if span.start < settled
        ]
    assert promises == sorted(promises, key=lambda promise: promise[0])
    return found


def _before(span: Span, end: int) -> Span:
    return Span(span.start, min(span.end, end))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("name", FILES)
def test_spans_are_those_of_faster_whisper(
    monkeypatch: pytest.MonkeyPatch, name: str, options: VadOptions
) -> None:
    samples = loaded(name)
    probabilities = reference_probabilities(name)
    expected = reference_spans(monkeypatch, probabilities, len(samples), options)
    assert len(expected) >= 1
    assert spans_of(probabilities, len(samples), options, 62) == expected


LEVELS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.95]), st.integers(1, 60)),
    min_size=1,
    max_size=40,
)


@settings(max_examples=300)
@given(
    levels=LEVELS,
    tail=st.integers(0, FRAME - 1),
    block=st.integers(1, 100),
    options=st.builds(
        VadOptions,
        threshold=st.sampled_from([0.3, 0.5, 0.9]),
        neg_threshold=st.sampled_from([None, 0.1, 0.35]),
        min_speech_duration_ms=st.sampled_from([0, 250, 1000]),
        max_speech_duration_s=st.sampled_from([float("inf"), 0.5, 2, 10]),
        min_silence_duration_ms=st.sampled_from([0, 100, 500, 2000]),
        speech_pad_ms=st.sampled_from([0, 7, 30, 400]),
    ),
)
def test_any_probabilities_and_options_give_the_reference_spans(
    levels: list[tuple[float, int]], tail: int, block: int, options: VadOptions
) -> None:
    probabilities = np.repeat(*(np.array(column) for column in zip(*levels, strict=True)))
    total = (len(probabilities) - 1) * FRAME + tail
    with pytest.MonkeyPatch.context() as monkeypatch:
        expected = reference_spans(monkeypatch, probabilities.astype(np.float32), total, options)
    assert spans_of(probabilities.astype(np.float32), total, options, block) == expected


@pytest.mark.parametrize("name", ["silence-20s", "noise-20s", "tones-20s"])
def test_nobody_speaks_in_silence_noise_and_tones(name: str) -> None:
    samples = loaded(f"hard/{name}.wav")
    assert spans_of(streamed(samples, [32000]), len(samples), VadOptions(), 62) == []


def test_what_is_neither_speech_nor_silence_for_long_is_kept_and_not_held_for_ever() -> None:
    """Between the two thresholds nothing is decided; a file of hours would be held in memory."""
    spans = SpeechSpans(VadOptions())
    spans.push(np.full(30, 0.9, np.float32))
    spans.push(np.full(1, 0.1, np.float32))
    for second in range(1, 601):
        assert spans.push(np.full(31, 0.4, np.float32)) == []
        heard = (31 + 31 * second) * FRAME
        assert heard - spans.settled < 32 * 16_000
    [whole] = spans.push(np.full(200, 0.1, np.float32))
    assert whole.end > 590 * 16_000, "what may have been said is in it"


def test_the_voice_detection_tells_nobody_that_it_is_used(tmp_path: Path) -> None:
    """onnxruntime would: it keeps an id in the home folder, and a thread that sends."""
    told = (
        "import os, numpy as np; from app.vad import SpeechProbabilities\n"
        "list(SpeechProbabilities().push(np.zeros(16000, np.float32)))\n"
        "print(os.listdir('/proc/self/task') == [str(os.getpid())])"
    )
    assert printed_by("worker", told, HOME=tmp_path, OPENBLAS_NUM_THREADS=1) == "True\n"
    assert list(tmp_path.rglob("*")) == []
