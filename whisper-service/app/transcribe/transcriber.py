"""Takes requests as long as there is room for them."""

import asyncio
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from ..audio import SAMPLE_RATE, Cage
from ..decoding.listener import Listener
from ..decoding.plan import Plan, make_plan
from ..decoding.station import Station
from ..errors import InvalidRequest
from ..models import Models
from ..scheduler import Arrival
from ..settings import Settings
from ..uploads import Upload
from ..windows import LONGEST
from ..wire import Detected, Event, Options, Progress, Started
from .detection import detected_language
from .length import likely_seconds
from .reading import Reading
from .signs import signs_of_life
from .story import RequestReport, Story, failed, naming_lack_of_memory
from .strategies import Work

OPENINGS = 64
"""Files opened at once, since each takes a process and a thread before it can be admitted. So many, since
one that hangs holds its place for a minute."""


@dataclass
class Transcriber:
    """See the module; `hooks` are told of each request that ended well."""

    settings: Settings
    models: Models
    cage: Cage
    hooks: list[Callable[[RequestReport], None]] = field(default_factory=list)
    _openings: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(OPENINGS))

    def admit(self, model: str, options: Options | None = None) -> None:
        """Raise what a request would be refused for if it came now, as far as its options are known.

        That is what keeps the model from serving, InvalidRequest for what it cannot do, Overloaded.
        """
        if options is None:
            self.models.station(model).scheduler.check()
        else:
            self._prepared(model, options)

    def _prepared(self, model: str, options: Options, *, age: float = 0.0) -> tuple[Station, Plan]:
        """The model that would serve a request of this age now, and how; raises as `admit` says."""
        station = self.models.station(model)
        plan = self._plan(station, options)
        station.scheduler.check(_arrival(options, age=age))
        return station, plan

    def _plan(self, station: Station, options: Options) -> Plan:
        if options.task not in station.info.tasks:
            others = [info.id for info in self.models.infos() if options.task in info.tasks]
            named = f"; '{others[0]}' can" if others else "; 'small', 'medium' and 'large-v3' can"
            message = f"The model '{station.name}' cannot translate{named}"
            raise InvalidRequest(message, param="task")
        return make_plan(options, self.settings, station.vocabulary, station.engine.device)

    async def transcribe(
        self, model: str, upload: Upload, request_id: str
    ) -> AsyncGenerator[Event, None]:
        """Yield `started`, segments and progress, then `finished` or `failed`; closes the upload.

        What is wrong with the request or its file is raised before the first event. Closing the
        iterator drops the windows that have not started.
        """
        reading = Reading(self.cage, upload.file, max_seconds=self.settings.max_audio_seconds)
        try:
            station, plan = self._prepared(model, upload.options, age=upload.age)
            async with self._openings:
                await reading.open()
            seconds = self._likely_seconds(upload, reading)
            share = plan.window_share(seconds)
            arrival = _arrival(
                upload.options, seconds, in_turn=plan.in_turn, age=upload.age, share=share
            )
            position = station.scheduler.waiting_before(arrival)
            predicted = station.scheduler.predicted_start_seconds(arrival)
            with station.scheduler.open(arrival) as lane:
                yield Started(
                    request_id=request_id,
                    model=model,
                    queue_position=position,
                    predicted_start_seconds=round(predicted, 3),
                )
                work = Work(plan, reading, Listener(lane, station.step, request_id), lane)
                total = functools.partial(self._likely_seconds, upload, reading)
                story = Story(request_id, model, work, self.hooks, total)
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
    ) -> AsyncGenerator[Event, None]:
        """Yield progress, then which language is spoken in the first windows that hold speech.

        Closes the upload. What is wrong is raised, or told as `failed` behind the first event.
        """
        has_begun = False
        reading = Reading(self.cage, upload.file, max_seconds=self.settings.max_audio_seconds)
        try:
            station, plan = self._prepared(model, upload.options, age=upload.age)
            async with self._openings:
                await reading.open()
            most = LONGEST / SAMPLE_RATE * upload.options.language_detection_segments
            seconds = min(most, self._likely_seconds(upload, reading))
            arrival = _arrival(upload.options, seconds, in_turn=True, age=upload.age)
            with station.scheduler.open(arrival) as lane:
                listener = Listener(lane, station.step, request_id)
                with naming_lack_of_memory(model):
                    work = _only(detected_language(reading, listener, plan))
                    async with aclosing(work), aclosing(signs_of_life(work)) as steps:
                        async for found in steps:
                            if found is None and lane.is_stalled:
                                continue  # no sign of life, so that who waits for one can give up
                            has_begun = True
                            yield found or Progress(stage="detecting", audio_seconds_done=0.0)
        except Exception as error:
            if not has_begun:
                raise
            yield failed(error, request_id)
        finally:
            await reading.close()


async def _only(work: Awaitable[Detected]) -> AsyncGenerator[Detected, None]:
    yield await work


def _arrival(
    options: Options, seconds: float = 0.0, *, in_turn: bool = False, age: float, share: float = 1.0
) -> Arrival:
    return Arrival(options.tenant, options.priority, seconds, options.deadline, in_turn, age, share)
