"""What is counted before it is done: how long a file is, how long a window takes, what still comes."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from house import DATA
from worker.decoding.station import Station
from worker.transcribe import Transcriber
from worker.transcribe.length import likely_seconds
from worker.uploads import Upload
from worker.wire import Options


def samples_of(file: str, rate: int) -> npt.NDArray[np.int16]:
    with av.open(str(DATA / file)) as container:
        resampler = av.AudioResampler("s16", "mono", rate)
        frames = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
        return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def encoded(samples: npt.NDArray[np.int16], rate: int, bit_rate: int, kind: str) -> bytes:
    """MP3 without a header that tells its duration, or WebM as a live recording writes it."""
    codec, layout, options = {
        "mp3": ("libmp3lame", "s16p", {"write_xing": "0", "id3v2_version": "0"}),
        "webm": ("libopus", "s16", {"live": "1"}),
    }[kind]

    class Pipe:
        written = b""

        def write(self, data: bytes) -> int:
            self.written += data
            return len(data)

    pipe = Pipe()
    with av.open(pipe, "w", format=kind, options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format=layout, layout="mono")
        frame.sample_rate = rate
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return pipe.written


def mp3_with_a_slow_head() -> bytes:
    """64 s, of which libav says 490 s: the first 3 s have an eighth of the bit rate of the rest."""
    head = encoded(np.zeros(3 * 16_000, np.int16), 16_000, 8_000, "mp3")
    speech = samples_of("long/en-90s.flac", 16_000)[: 61 * 16_000]
    return head + encoded(speech, 16_000, 64_000, "mp3")


def live_webm() -> bytes:
    """90 s that tell no duration."""
    return encoded(samples_of("long/en-90s.flac", 48_000), 48_000, 128_000, "webm")


@pytest.mark.parametrize(
    ("make", "least", "most"),
    [
        (mp3_with_a_slow_head, 480.0, 500.0),
        (live_webm, 60.0, 300.0),
        ((DATA / "hard/40s-pause.wav").read_bytes, 52.7, 52.8),
    ],
    ids=["slow head", "live", "pause"],
)
def test_the_backlog_follows_what_is_really_read_and_heard(
    transcriber: Transcriber,
    station: Station,
    tmp_path: Path,
    make: Callable[[], bytes],
    least: float,
    most: float,
) -> None:
    file = tmp_path / "file"
    size = file.write_bytes(make())

    async def listen() -> list[float]:
        events = transcriber.transcribe(
            "micro", Upload(file.open("rb"), size, Options(beam_size=1)), "test"
        )
        return [station.scheduler.load.backlog_seconds async for _ in events]

    backlog = asyncio.run(listen())
    assert least <= backlog[0] <= most
    assert backlog[-2:] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("told", "read", "is_over", "expected"),
    [
        (10_800.0, 30.0, False, 10_800.0),
        (1_073_741.8, 30.0, False, 14_400.0),
        (485.0, 64.0, True, 64.0),
        (10.0, 64.0, False, 64.0),
        (None, 30.0, False, 125.0),
        (None, 200.0, False, 200.0),
        (None, 30.0, True, 30.0),
    ],
)
def test_a_guessed_duration_is_bounded_and_gives_way_to_what_is_read(
    told: float | None, read: float, is_over: bool, expected: float
) -> None:
    size = 1_000_000
    assert likely_seconds(told, size=size, read=read, is_over=is_over, most=14_400) == expected


def test_the_first_pass_of_a_model_says_nothing_of_its_speed(station: Station) -> None:
    """On CUDA it compiles: taken for the speed, it would have every deadline refused for good."""
    now = 0.0
    passes = iter([60.0] * station.engine.workers + [1.0])
    silent_pass = station.engine.silent_pass

    def slow_at_first(windows: int = 1) -> None:
        nonlocal now
        now += next(passes)
        silent_pass(windows)

    station.engine.silent_pass = slow_at_first  # type: ignore[method-assign]
    try:
        assert station.engine._warm_up(clock=lambda: now) == 1.0
    finally:
        del station.engine.silent_pass  # type: ignore[method-assign]
