"""Asks a transcriber in the same process: uploads, answers, events, languages."""

import asyncio
import tempfile
import wave
from contextlib import aclosing
from typing import Any, BinaryIO

from house import DATA
from worker.transcribe import Transcriber
from worker.uploads import Upload
from worker.wire import DetectedLanguage, Event, Options, Transcript, collect, collect_language

ONE = "It is on the first floor."


def upload(file: str | BinaryIO, **options: Any) -> Upload:
    """A file of tests/data, or an open one, with options."""
    opened = (DATA / file).open("rb") if isinstance(file, str) else file
    return Upload(opened, 0, Options(**options))


def joined(*files: str, silence: float = 0.0) -> BinaryIO:
    """One WAV of several, with silence between them."""
    parts = []
    for file in files:
        with wave.open(str(DATA / file)) as opened:
            assert opened.getframerate() == 16_000
            parts += [opened.readframes(opened.getnframes()), bytes(int(silence * 16_000) * 2)]
    target = tempfile.TemporaryFile()  # noqa: SIM115 (the reading closes it)
    with wave.open(target, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(16_000)
        written.writeframes(b"".join(parts))
    target.seek(0)
    return target  # type: ignore[return-value]


async def collected(transcriber: Transcriber, file: str | BinaryIO, **options: Any) -> Transcript:
    """The whole answer, for tests that are coroutines."""
    async with aclosing(transcriber.transcribe("micro", upload(file, **options), "t")) as stream:
        return await collect(stream)


def answer(transcriber: Transcriber, file: str | BinaryIO, **options: Any) -> Transcript:
    """The whole answer."""
    return asyncio.run(collected(transcriber, file, **options))


def events(transcriber: Transcriber, file: str | BinaryIO, **options: Any) -> list[Event]:
    """All events, in their order."""

    async def listen() -> list[Event]:
        stream = transcriber.transcribe("micro", upload(file, **options), "test")
        return [event async for event in stream]

    return asyncio.run(listen())


def language_of(transcriber: Transcriber, asked: Upload) -> DetectedLanguage:
    """What the detection of a language answers."""

    async def listen() -> DetectedLanguage:
        async with aclosing(transcriber.detect_language("micro", asked, "test")) as stream:
            return await collect_language(stream)

    return asyncio.run(listen())
