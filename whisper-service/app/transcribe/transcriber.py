"""Takes requests as long as there is room for them, and tells their stories."""

import asyncio
import functools
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field

from ..audio import Cage
from ..decoding.listener import Listener
from ..decoding.plan import Plan, make_plan
from ..decoding.station import Station
from ..errors import InvalidRequest, ModelUnavailable, ServiceError
from ..models import Models
from ..scheduler import BatchTooLarge
from ..settings import Settings
from ..uploads import Upload
from ..wire import (
    DetectedLanguage,
    Event,
    Failed,
    Finished,
    Options,
    Progress,
    Segment,
    Started,
)
from .detection import detected_language
from .length import likely_seconds
from .reading import Reading
from .segments import wire_segment
from .strategies import Done, Work

log = logging.getLogger(__name__)

SIGN_OF_LIFE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class RequestReport:
    """One request has ended well; for hooks, as those of the scheduler."""

    model: str
    finished: Finished
    segments: int
    doubts: Counter[str]


@dataclass
class Transcriber:
    """See the module; `hooks` are told of each request that ended well."""

    settings: Settings
    models: Models
    cage: Cage
    hooks: list[Callable[[RequestReport], None]] = field(default_factory=list)

    def admit(self, model: str, options: Options | None = None) -> None:
        """Raise what a request would be refused for if it came now.

        That is what keeps the model from serving, InvalidRequest for what it cannot do, Overloaded.
        """
        self._prepared(model, options or Options())

    def _prepared(self, model: str, options: Options) -> tuple[Station, Plan]:
        """The model that would serve a request now, and how; raises as `admit` says."""
        station = self.models.station(model)
        plan = self._plan(station, options)
        station.scheduler.check(
            tenant=options.tenant, priority=options.priority, deadline=options.deadline
        )
        return station, plan

    def _plan(self, station: Station, options: Options) -> Plan:
        if options.task not in station.info.tasks:
            others = [info.id for info in self.models.infos() if options.task in info.tasks]
            named = f"; '{others[0]}' can" if others else "; 'small', 'medium' and 'large-v3' can"
            message = f"The model '{station.name}' cannot translate{named}"
            raise InvalidRequest(message, param="task")
        return make_plan(options, self.settings, station.vocabulary)

    async def transcribe(
        self, model: str, upload: Upload, request_id: str
    ) -> AsyncGenerator[Event, None]:
        """Yield `started`, segments and progress, then `finished` or `failed`; closes the upload.

        What is wrong with the request or its file is raised before the first event. Closing the
        iterator drops the windows that have not started.
        """
        reading = Reading(self.cage, upload.file, max_seconds=self.settings.max_audio_seconds)
        try:
            station, plan = self._prepared(model, upload.options)
            await reading.open()
            position = station.scheduler.load.waiting_requests
            predicted = station.scheduler.predicted_start_seconds(
                tenant=upload.options.tenant, priority=upload.options.priority
            )
            with station.scheduler.open(
                tenant=upload.options.tenant,
                priority=upload.options.priority,
                seconds=self._likely_seconds(upload, reading),
                deadline=upload.options.deadline,
            ) as lane:
                yield Started(
                    request_id=request_id,
                    model=model,
                    queue_position=position,
                    predicted_start_seconds=round(predicted, 3),
                )
                work = Work(plan, reading, Listener(lane, station.step, request_id), lane)
                total = functools.partial(self._likely_seconds, upload, reading)
                story = _Story(model, work, self.hooks, total)
                async with aclosing(story.events()) as events:
                    async for event in events:
                        yield event
        finally:
            await reading.close()

    def _likely_seconds(self, upload: Upload, reading: Reading) -> float:
        return likely_seconds(
            reading.expected_seconds,
            size=upload.size,
            read=reading.seconds,
            is_over=reading.is_over,
            most=self.settings.max_audio_seconds,
        )

    async def detect_language(
        self, model: str, upload: Upload, request_id: str
    ) -> DetectedLanguage:
        """Say which language is spoken in the first windows that hold speech; closes the upload."""
        reading = Reading(self.cage, upload.file, max_seconds=self.settings.max_audio_seconds)
        try:
            station, plan = self._prepared(model, upload.options)
            await reading.open()
            with station.scheduler.open(
                tenant=upload.options.tenant, priority=upload.options.priority
            ) as lane:
                listener = Listener(lane, station.step, request_id)
                with _memory_of(model):
                    return await detected_language(reading, listener, plan)
        finally:
            await reading.close()


@contextmanager
def _memory_of(model: str) -> Iterator[None]:
    """Say what an operator can do when not even one window fits into the device's memory."""
    try:
        yield
    except BatchTooLarge as exc:
        raise ModelUnavailable(
            f"The memory of the device is too small for one window of the model '{model}': serve a "
            "smaller model, fewer of them, or set WHISPER_COMPUTE_TYPE to int8",
            param="model",
        ) from exc


class _Story:
    """From the first window to the last event."""

    def __init__(
        self,
        model: str,
        work: Work,
        hooks: list[Callable[[RequestReport], None]],
        likely_seconds: Callable[[], float],
    ) -> None:
        self._model = model
        self._likely_seconds = likely_seconds
        self._work = work
        self._hooks = hooks
        self._began = time.monotonic()
        self._done_seconds = 0.0
        self._segments = 0
        self._doubts = Counter[str]()
        self._languages = Counter[str]()

    async def events(self) -> AsyncGenerator[Event, None]:
        """Segments and progress, then `finished` or `failed`."""
        try:
            with _memory_of(self._model):
                async with (
                    aclosing(self._work.run()) as work,
                    aclosing(_signs_of_life(work, SIGN_OF_LIFE_SECONDS)) as steps,
                ):
                    async for done in steps:
                        # What is read waits in the queue, is done, or was dropped as silence.
                        coming = self._likely_seconds() - self._work.reading.seconds
                        self._work.lane.expect(coming)
                        if done is not None:
                            self._done_seconds = max(self._done_seconds, done.until)
                            for segment in self._told(done):
                                yield segment
                        yield self._progress()
            yield self._finished()
        except ServiceError as error:
            yield Failed(
                status=error.status, code=error.code, message=error.message, param=error.param
            )
        except Exception:
            log.exception("a request failed")
            bug = ServiceError("Internal server error")
            yield Failed(status=bug.status, code=bug.code, message=bug.message)
        finally:
            await self._work.close()

    def _told(self, done: Done) -> Iterator[Segment]:
        plan = self._work.plan
        for said in done.said:
            segment = wire_segment(
                said,
                number=self._segments,
                clock=done.clock,
                plan=plan,
                vocabulary=self._work.listener.vocabulary,
            )
            self._doubts.update(segment.flags)
            if plan.options.doubtful == "drop" and segment.flags:
                continue
            if plan.options.doubtful == "keep":
                segment = segment.model_copy(update={"flags": []})
            self._segments += 1
            self._languages[said.language] += len(said.text)
            yield segment

    def _progress(self) -> Progress:
        total = self._work.reading.expected_seconds
        eta = None
        if total is not None and self._done_seconds > 0:
            elapsed = time.monotonic() - self._began
            eta = round(max(0.0, total - self._done_seconds) * elapsed / self._done_seconds, 3)
        return Progress(
            stage="transcribing",
            audio_seconds_done=round(self._done_seconds, 3),
            audio_seconds_total=total,
            eta_seconds=eta,
        )

    def _finished(self) -> Finished:
        work, reading, lane = self._work, self._work.reading, self._work.lane
        duration = reading.seconds
        language, probability = self._language()
        dropped = None if work.kept_seconds is None else max(0.0, duration - work.kept_seconds)
        finished = Finished(
            language=language,
            language_probability=probability,
            duration=round(duration, 6),
            speech_seconds=_rounded(work.speech_seconds),
            dropped_seconds=_rounded(dropped),
            queue_seconds=_rounded(lane.queue_seconds),
            load_seconds=_rounded(reading.load_seconds),
            vad_seconds=_rounded(reading.vad_seconds),
            inference_seconds=_rounded(lane.inference_seconds),
            rtf=_rounded((time.monotonic() - self._began) / duration),
            flags=self._flags(),
        )
        report = RequestReport(self._model, finished, self._segments, self._doubts)
        for hook in self._hooks:
            try:
                hook(report)
            except Exception:
                log.exception("a hook failed")
        return finished

    def _language(self) -> tuple[str | None, float | None]:
        """The language told at the end: forced, detected, or null when nothing was said."""
        options = self._work.plan.options
        if options.language is not None:
            return options.language, None
        if not self._segments:
            return None, None
        if options.multilingual:
            return self._languages.most_common(1)[0][0], None
        heard = self._work.language
        return self._work.plan.language, None if heard is None else heard.probability

    def _flags(self) -> list[str]:
        heard = self._work.language
        flags = {
            "truncated": self._work.reading.is_truncated,
            "no_speech": not self._segments and not self._doubts,
            "other_language": heard is not None and not heard.is_expected,
            "doubtful_dropped": self._work.plan.options.doubtful == "drop" and bool(self._doubts),
        }
        return [name for name, holds in flags.items() if holds]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


async def _signs_of_life(
    items: AsyncIterator[Done], every_seconds: float
) -> AsyncGenerator[Done | None, None]:
    """Pass items on; None whenever there was none for `every_seconds`."""
    while True:
        coming = asyncio.ensure_future(_anext(items))
        try:
            while not (await asyncio.wait({coming}, timeout=every_seconds))[0]:
                yield None
        finally:
            if not coming.done():
                coming.cancel()
                await asyncio.wait({coming})
        item = coming.result()
        if item is None:
            return
        yield item


async def _anext(items: AsyncIterator[Done]) -> Done | None:
    return await anext(items, None)
