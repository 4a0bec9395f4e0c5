"""Where passages come from: no frame of a file moves, and nothing unheard is passed over."""

import asyncio
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worker.audio import Samples
from worker.decoding.sources import FileSource, WindowSource
from worker.vad import Span
from worker.windows import Window


def file_of(blocks: Iterable[Samples]) -> FileSource:
    coming = iter(blocks)

    async def following() -> Samples | None:
        return next(coming, None)

    return FileSource(following)


def counted(total: int, block: int = 32_000) -> list[Samples]:
    """Blocks in which each sample is its own number in the file."""
    samples = np.arange(total, dtype=np.float32)
    return [samples[begin : begin + block] for begin in range(0, total, block)]


def test_a_seek_behind_everything_that_is_held_reads_on_to_its_own_frame() -> None:
    source = file_of(counted(70 * 16_000))

    async def story() -> list[float]:
        sounds = [await source.read(seek) for seek in (0, 2000, 5217)]
        return [float(sound.samples[0]) for sound in sounds if sound is not None]

    assert asyncio.run(story()) == [0.0, 320_000.0, 834_720.0]
    assert source.end == 7000


@given(
    total=st.integers(0, 200_000),
    block=st.integers(1000, 40_000),
    steps=st.lists(st.integers(0, 900), max_size=6),
)
def test_what_is_read_is_what_stands_at_that_place_in_the_file(
    total: int, block: int, steps: list[int]
) -> None:
    source = file_of(counted(total, block))

    async def story() -> None:
        seek = 0
        for step in steps:
            seek += step
            sound = await source.read(seek)
            if total - seek * 160 < 160:
                assert sound is None
            else:
                assert sound is not None
                assert sound.samples[0] == seek * 160
                assert len(sound.samples) == min(total - seek * 160, 480_000)

    asyncio.run(story())


@pytest.mark.parametrize(("heard", "is_looked_at"), [(1000, False), (700, True)])
def test_the_last_scrap_of_speech_is_looked_at_only_when_nobody_has_heard_it(
    heard: int, is_looked_at: bool
) -> None:
    whole = Span(0, 160_000)
    window = Window(np.zeros(160_000, np.float32), (whole,), (Span(0, 118_400),))

    async def read(seek: int) -> bool:
        return await WindowSource(window).read(seek, heard=heard) is not None

    assert asyncio.run(read(700)) is is_looked_at
    assert asyncio.run(read(740)) is False, "there is only silence"


def test_the_rest_of_a_window_is_not_taken_for_what_was_encoded_of_the_whole() -> None:
    whole = Span(0, 160_000)
    window = Window(np.zeros(160_000, np.float32), (whole,), (whole,))
    source = WindowSource(window, "encoded")

    async def story() -> None:
        first, rest = await source.read(0, heard=0), await source.read(500, heard=500)
        assert first is not None
        assert rest is not None
        assert (first.encoded, first.is_whole) == ("encoded", True)
        assert (rest.encoded, rest.is_whole) == (None, False)

    asyncio.run(story())


@pytest.mark.parametrize(("samples", "is_whole"), [(480_000, True), (480_001, False)])
def test_a_file_is_whole_in_its_first_window_if_nothing_comes_behind_it(
    samples: int, is_whole: bool
) -> None:
    async def story() -> None:
        for sound in (
            await file_of(counted(samples)).read(0),
            await file_of(counted(samples)).peek(0),
        ):
            assert sound is not None
            assert (sound.frames, sound.is_whole) == (3000, is_whole)

    asyncio.run(story())


def test_what_was_encoded_for_the_language_is_given_away_with_the_first_window() -> None:
    """It is of megabytes, and the file may go on for hours."""
    source = file_of(counted(40 * 16_000))

    async def story() -> None:
        source.encoded = "encoded"
        first = await source.read(0)
        assert first is not None
        assert (first.encoded, source.encoded) == ("encoded", None)

    asyncio.run(story())


def test_what_came_before_a_break_is_read_before_it_is_raised() -> None:
    def blocks() -> Iterator[Samples]:
        yield from counted(45 * 16_000)
        raise ConnectionError("the decoder died")

    async def story() -> None:
        source = file_of(blocks())
        first, second = await source.read(0), await source.read(3000)
        assert first is not None
        assert second is not None
        assert (first.frames, second.frames, source.end) == (3000, 1500, 4500)
        with pytest.raises(ConnectionError):
            await source.read(4500)

    asyncio.run(story())
