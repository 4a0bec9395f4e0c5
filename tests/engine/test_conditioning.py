"""What each window is told of those before it: the prompts of faster-whisper, and how long they may be.

Both engines hear what is written down here, so that their prompts can be compared token for token.
"""

import asyncio
import tempfile
import wave
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import pytest
from faster_whisper import WhisperModel
from house import DATA
from worker.decoding.attempt import Attempt, Recipe
from worker.decoding.station import Station
from worker.transcribe import Transcriber
from worker.uploads import Upload
from worker.wire import Options, Transcript, collect

START = [50_258, 50_259, 50_359]
PREVIOUS = 50_361
ZERO = 50_364
YES, NO, GOOD, ONE, TWO = 1079, 883, 2205, 472, 732
WINDOWS = [
    [ZERO, YES, GOOD, ZERO + 700, ZERO + 700, NO, ZERO + 1500],
    [ZERO + 10, ONE, ZERO + 1500],
    [ZERO, TWO, ZERO + 700],
]
"""What is heard in three windows of 30, 30 and 15 s: each ends with a timestamp, so none is reheard."""
SECONDS = 75
SEARCH = ["beam_size", "patience", "num_hypotheses", "sampling_topk", "sampling_temperature"]


class Script:
    """Stands for CTranslate2's model: windows in turn, the first good enough at `good_at` alone."""

    is_multilingual = True
    device = "cpu"

    def __init__(self, good_at: float = 0.0) -> None:
        self.prompts: list[list[int]] = []
        self.searches: list[dict[str, Any]] = []
        """How each text was to be searched for."""
        self._good_at = good_at
        self._window = 0

    def encode(self, mels: Any, *_: Any, **__: Any) -> Any:
        return None, [None]

    def generate(self, encoded: Any, prompts: list[list[int]], **options: Any) -> list[Any]:
        temperature = options.get("sampling_temperature", 0.0)
        self.searches.append({name: options[name] for name in SEARCH if name in options})
        is_good = self._window > 0 or temperature >= self._good_at
        tokens = WINDOWS[self._window]
        if is_good:
            self.prompts += prompts
            self._window += 1
        score = -0.1 if is_good else -3.0
        return [SimpleNamespace(sequences_ids=[tokens], scores=[score], no_speech_prob=0.0)]


@pytest.fixture(scope="module")
def bare(micro: Path) -> WhisperModel:
    """The oracle; its model is exchanged for a script."""
    return WhisperModel(str(micro), device="cpu", compute_type="float32", cpu_threads=1)


def theirs(
    bare: WhisperModel, monkeypatch: pytest.MonkeyPatch, good_at: float, **options: Any
) -> Script:
    """What faster-whisper tells its model."""
    script = Script(good_at)
    monkeypatch.setattr(bare, "model", script)
    segments, _ = bare.transcribe(np.zeros(SECONDS * 16_000, np.float32), language="en", **options)
    assert len(list(segments)) == 4
    return script


def silence(seconds: int) -> BinaryIO:
    """A WAV in which nothing is heard."""
    return written(bytes(seconds * 16_000 * 2))


def written(frames: bytes) -> BinaryIO:
    target: BinaryIO = tempfile.TemporaryFile()  # type: ignore[assignment]  # noqa: SIM115
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(frames)
    target.seek(0)
    return target


def answer(transcriber: Transcriber, file: BinaryIO, **options: Any) -> Transcript:
    async def ask() -> Transcript:
        upload = Upload(file, 0, Options(language="en", **options))
        async with aclosing(transcriber.transcribe("micro", upload, "test")) as events:
            return await collect(events)

    return asyncio.run(ask())


def ours(
    transcriber: Transcriber,
    station: Station,
    monkeypatch: pytest.MonkeyPatch,
    good_at: float = 0.0,
    **options: Any,
) -> Script:
    """What this service tells its model, with the sequential strategy."""
    script = Script(good_at)
    monkeypatch.setattr(station.engine, "encode", script.encode)
    monkeypatch.setattr(station.engine, "generate", script.generate)
    found = answer(transcriber, silence(SECONDS), vad_filter=False, **options)
    assert len(found.segments) == 4
    return script


@pytest.mark.parametrize(
    ("good_at", "options"),
    [
        (0.0, {}),
        (0.0, {"prompt": "Vienna and Poland."}),
        (0.0, {"prompt": "Vienna and Poland.", "condition_on_previous_text": False}),
        (0.0, {"prompt": "word " * 300}),
        (0.0, {"hotwords": "Vienna"}),
        (0.0, {"prefix": "It is"}),
        (0.4, {"prompt": "Vienna."}),
        (0.6, {"prompt": "Vienna."}),
        (0.4, {"prompt_reset_on_temperature": 0.3}),
        (0.6, {"prompt_reset_on_temperature": 0.7}),
        (0.4, {"prompt_reset_on_temperature": 0.4}),
        (0.4, {"beam_size": 2, "patience": 2.0, "best_of": 3}),
    ],
    ids=[
        "nothing",
        "prompt",
        "prompt alone",
        "long prompt",
        "hotwords",
        "prefix",
        "not above 0.5",
        "above 0.5",
        "above 0.3",
        "not above 0.7",
        "not above 0.4",
        "search",
    ],
)
def test_every_window_is_told_what_faster_whisper_tells_it(
    transcriber: Transcriber,
    station: Station,
    bare: WhisperModel,
    monkeypatch: pytest.MonkeyPatch,
    good_at: float,
    options: dict[str, Any],
) -> None:
    renamed = {("initial_prompt" if n == "prompt" else n): v for n, v in options.items()}
    expected = theirs(bare, monkeypatch, good_at, **renamed)
    found = ours(transcriber, station, monkeypatch, good_at, **options)
    assert len(expected.prompts) == 3
    assert found.prompts == expected.prompts
    assert found.searches == expected.searches


# --- windows that the VAD cuts ------------------------------------------------------------------


def two_windows() -> BinaryIO:
    """A sentence twice, with so much silence between that each is a window."""
    with wave.open(str(DATA / "short/en-1.wav")) as short:
        sentence = short.readframes(short.getnframes())
    return written(bytes(2 * 16_000 * 12).join([sentence, sentence]))


@pytest.fixture
def prompts(station: Station, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """What the model is told with each window, while each says the next text of the script."""
    script = Script()
    monkeypatch.setattr(station.engine, "encode", script.encode)
    monkeypatch.setattr(station.engine, "generate", script.generate)
    return script.prompts


def test_windows_of_the_vad_are_told_what_was_said_before_where_that_is_wanted(
    transcriber: Transcriber, prompts: list[list[int]]
) -> None:
    answer(transcriber, two_windows(), vad_filter=True, condition_on_previous_text=True)
    assert len(prompts) == 2
    assert prompts[0] == START
    assert prompts[1][0] == PREVIOUS
    assert [token for token in prompts[1] if token < 50_257] == [YES, GOOD, NO]
    assert prompts[1][-3:] == START


def test_windows_of_the_vad_are_told_the_prompt_alone_by_default(
    transcriber: Transcriber, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = station.vocabulary.encode(" Vienna.")
    seen: list[list[int]] = []
    generate = station.engine.generate

    def watched(encoded: Any, prompts: list[list[int]], **options: Any) -> list[Any]:
        seen.extend(prompts)
        return generate(encoded, prompts, **options)

    monkeypatch.setattr(station.engine, "generate", watched)
    answer(transcriber, two_windows(), prompt="Vienna.", beam_size=1, temperature=0.2, best_of=1)
    assert seen == [[PREVIOUS, *told, *START]] * 2


# --- the room that is left for the text ---------------------------------------------------------


@pytest.mark.parametrize(
    ("previous", "timestamps", "room"), [(0, True, 224), (222, True, 223), (223, False, 221)]
)
def test_a_text_that_cannot_end_fills_its_room_and_is_cut_off(
    station: Station, previous: int, timestamps: bool, room: int
) -> None:
    """The end of the text is forbidden, so the real model goes on until there is no room."""
    vocabulary = station.vocabulary
    prompt = vocabulary.prompt(
        language="en", task="transcribe", previous=[11] * previous, timestamps=timestamps
    )
    attempt = Attempt(
        recipe=Recipe(
            "decode",
            prompt.index(START[0]),
            timestamps=timestamps,
            beam_size=1,
            suppress_tokens=(vocabulary.eot,),
        ),
        mel=np.zeros((80, 3000), np.float32),
        prompt=tuple(prompt),
        start=tuple(START),
        frames=3000,
        description="test",
    )
    [outcome] = station.step([attempt])
    assert (len(outcome.tokens), outcome.cut_off) == (room, True)
