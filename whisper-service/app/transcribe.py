"""The story of one request: from an opened file to events, in order, as they become final."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from .audio import AudioReader
from .engine import SAMPLE_RATE, Engine, WhisperSegment, speech_samples
from .errors import Overloaded, RemoteError, ServiceError
from .models import Models
from .settings import Settings
from .uploads import Upload
from .wire import Event, Failed, Finished, Options, Progress, Segment, Started, Transcript, Word

SIGN_OF_LIFE_SECONDS = 5.0


@dataclass
class Transcriber:
    """Takes requests as long as there is room for them, and tells their stories."""

    settings: Settings
    models: Models
    _inside: int = field(default=0, init=False)

    def admit(self, model: str) -> Engine:
        """Return the engine that would serve; raises what keeps the model from serving, Overloaded."""
        engine = self.models.engine(model)
        if self._inside > self.settings.whisper_max_queue:
            raise Overloaded("Too many requests are waiting", retry_after=5)
        return engine

    async def transcribe(
        self, model: str, upload: Upload, request_id: str
    ) -> AsyncGenerator[Event, None]:
        """Yield `started`, segments and progress, then `finished` or `failed`; closes the upload.

        What is wrong with the request or its file is raised before the first event. Closing the
        iterator stops the work at the next segment.
        """
        engine = self.admit(model)
        self._inside += 1
        try:
            began = time.monotonic()
            samples, truncated = await asyncio.to_thread(
                _load, upload.file, self.settings.max_audio_seconds
            )
            load_seconds = time.monotonic() - began
            yield Started(request_id=request_id, model=model, queue_position=self._inside - 1)
            story = _Story(engine, samples, upload.options, load_seconds, ["truncated"] * truncated)
            async for event in _in_thread(story):
                yield event
        finally:
            self._inside -= 1
            upload.file.close()


async def collect(events: AsyncIterator[Event]) -> Transcript:
    """The JSON answer: the same events, put together. Raises the failure that they end with."""
    segments: list[Segment] = []
    async for event in events:
        match event:
            case Segment():
                segments.append(event)
            case Failed():
                raise RemoteError(event.status, event.code, event.message, param=event.param)
            case Finished():
                text = " ".join(segment.text.strip() for segment in segments)
                return Transcript(**event.model_dump(), text=text.strip(), segments=segments)
    raise ServiceError("The work ended without a result")


def _load(file: BinaryIO, max_seconds: float) -> tuple[np.ndarray, bool]:
    with AudioReader(file, max_seconds=max_seconds) as reader:
        blocks = list(reader.blocks())
        return np.concatenate(blocks), reader.truncated


@dataclass
class _Story:
    """What runs in the thread of one request."""

    engine: Engine
    samples: np.ndarray
    options: Options
    load_seconds: float
    flags: list[str]
    stopped: threading.Event = field(default_factory=threading.Event)

    def events(self) -> Iterator[Event]:
        duration = len(self.samples) / SAMPLE_RATE
        began = time.monotonic()
        speech = speech_samples(self.samples)
        vad_seconds = time.monotonic() - began
        language, probability = self.options.language, None
        if speech or self.options.vad_filter is False:
            segments, info = self.engine.transcribe(self.samples, self.options)
            language, probability = info.language, info.language_probability
            for number, segment in enumerate(segments):
                if self.stopped.is_set():
                    return
                yield _wire_segment(number, segment)
                yield Progress(
                    stage="transcribing",
                    audio_seconds_done=segment.end,
                    audio_seconds_total=duration,
                )
        seconds = time.monotonic() - began
        yield Finished(
            language=language,
            language_probability=probability,
            duration=duration,
            speech_seconds=speech / SAMPLE_RATE,
            load_seconds=self.load_seconds,
            vad_seconds=vad_seconds,
            inference_seconds=seconds - vad_seconds,
            rtf=seconds / duration,
            flags=self.flags if speech else [*self.flags, "no_speech"],
        )


async def _in_thread(story: _Story) -> AsyncGenerator[Event, None]:
    """Run a story in a thread; between its events, a sign of life every few seconds."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Event | Exception | None] = asyncio.Queue()

    def tell(item: Event | Exception | None) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, item)

    def run() -> None:
        try:
            for event in story.events():
                tell(event)
            tell(None)
        except Exception as exc:
            tell(exc)

    thread = loop.run_in_executor(None, run)
    done = 0.0
    try:
        while True:
            try:
                item = await asyncio.wait_for(queue.get(), SIGN_OF_LIFE_SECONDS)
            except TimeoutError:
                yield Progress(stage="transcribing", audio_seconds_done=done)
                continue
            match item:
                case None:
                    return
                case ServiceError():
                    yield Failed(
                        status=item.status, code=item.code, message=item.message, param=item.param
                    )
                    return
                case Exception():
                    raise item
                case Progress():
                    done = item.audio_seconds_done
                    yield item
                case _:
                    yield item
    finally:
        story.stopped.set()
        await asyncio.shield(thread)


def _wire_segment(number: int, segment: WhisperSegment) -> Segment:
    words = None
    if segment.words is not None:
        words = [
            Word(word=w.word, start=w.start, end=w.end, probability=w.probability)
            for w in segment.words
        ]
    return Segment(
        id=number,
        seek=segment.seek,
        start=segment.start,
        end=segment.end,
        text=segment.text,
        tokens=segment.tokens,
        temperature=segment.temperature or 0.0,
        avg_logprob=segment.avg_logprob,
        compression_ratio=segment.compression_ratio,
        no_speech_prob=segment.no_speech_prob,
        words=words,
    )
