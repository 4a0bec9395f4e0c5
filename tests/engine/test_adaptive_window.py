"""How long the encoder's windows really are, of a short clip and of a long file."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from house import DATA
from processes import until
from worker.decoding.station import Station
from worker.settings import Settings
from worker.transcribe import Transcriber
from worker.uploads import Upload
from worker.wire import Options, collect


@pytest.fixture
def lengths(station: Station, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Frames of each window that the encoder gets; what was encoded already is not counted."""
    until(lambda: not station.scheduler._in_flight, "windows of earlier tests' clients had ended")
    found: list[int] = []
    encode = station.engine.encode

    def watched(mels: Any, known: Any) -> Any:
        found.extend(mel.shape[1] for mel, one in zip(mels, known, strict=True) if one is None)
        return encode(mels, known)

    monkeypatch.setattr(station.engine, "encode", watched)
    return found


def text(transcriber: Transcriber, file: str, **options: Any) -> str:
    wanted = Options(beam_size=1, **options)

    async def ask() -> str:
        upload = Upload((DATA / file).open("rb"), 0, wanted)
        async with aclosing(transcriber.transcribe("micro", upload, "test")) as events:
            return (await collect(events)).text

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("file", "options", "expected"),
    [
        ("short/en-1.wav", {}, [3000]),
        ("short/en-1.wav", {"adaptive_window": False}, [3000]),
        ("short/en-1.wav", {"adaptive_window": True}, [1000]),
        ("short/en-3.wav", {"adaptive_window": True}, [1500]),
        ("short/en-1.wav", {"adaptive_window": True, "language": "en"}, [1000]),
        ("short/en-1.wav", {"adaptive_window": True, "vad_filter": False}, [1000]),
        ("short/en-1.wav", {"adaptive_window": True, "language_detection_segments": 2}, [1000]),
    ],
)
def test_the_encoder_gets_a_short_clip_as_short_as_was_asked_for(
    transcriber: Transcriber,
    lengths: list[int],
    file: str,
    options: dict[str, Any],
    expected: list[int],
) -> None:
    text(transcriber, file, **options)
    assert lengths == expected


def test_the_worker_turns_it_on_for_requests_that_do_not_say(
    transcriber: Transcriber, lengths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(whisper_models=["micro"], whisper_adaptive_window=True)
    monkeypatch.setattr(transcriber, "settings", settings)
    text(transcriber, "short/en-1.wav")
    text(transcriber, "short/en-1.wav", adaptive_window=False)
    assert lengths == [1000, 3000]


def test_windows_of_a_long_file_stay_30_seconds(
    transcriber: Transcriber, lengths: list[int]
) -> None:
    """The last one as well: that it is short is not known before it is the last."""
    text(
        transcriber,
        "long/en-90s.flac",
        language="en",
        vad_filter=False,
        adaptive_window=True,
        log_prob_threshold=-10.0,
        compression_ratio_threshold=100.0,
    )
    assert len(lengths) >= 4
    assert set(lengths) == {3000}
