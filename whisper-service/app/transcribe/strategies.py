"""How a file is worked through: windows in parallel or one after the other, or the whole file.

Each way yields `Done`: segments in the order of the file, and how far the work is. `_parallel` keeps
the next batch ready while one runs; memory does not grow with the file's length.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from ..audio import SAMPLE_RATE
from ..decoding.language import HeardLanguage, choose_language, is_settled
from ..decoding.listener import Listener
from ..decoding.look import Said
from ..decoding.passage import Context, transcribe_passage
from ..decoding.plan import Plan
from ..decoding.sources import FileSource, WindowSource
from ..mel import FRAMES_PER_SECOND
from ..scheduler import Lane
from ..windows import Window
from .ballot import Ballot
from .reading import Reading
from .segments import Timeline
from .signs import next_or_none


@dataclass(frozen=True, slots=True)
class Done:
    """A stretch of the file is finished, up to `until` seconds."""

    said: list[Said]
    timeline: Timeline
    until: float


@dataclass
class Work:
    """One request at work."""

    plan: Plan
    reading: Reading
    listener: Listener
    lane: Lane[Any, Any]
    language: HeardLanguage | None = None
    speech_seconds: float | None = None
    kept_seconds: float | None = None
    _language_known: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Future[Any]] = field(default_factory=set)

    def run(self) -> AsyncGenerator[Done, None]:
        """Work through the file as its plan says."""
        if not self.plan.vad:
            return self._whole_file()
        self.speech_seconds = self.kept_seconds = 0.0
        windows = self.reading.windows(self.plan.options.vad_parameters)
        return self._in_turn(windows) if self.plan.conditioned else self._parallel(windows)

    async def close(self) -> None:
        """Cancel what is under way."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # --- strategies -----------------------------------------------------------------------------

    async def _whole_file(self) -> AsyncGenerator[Done, None]:
        blocks = self.reading.blocks()
        source = FileSource(lambda: self.reading.next(blocks))
        if self._hears_once:
            self.listener.on_language = self._first_language
        elif self.plan.is_language_open:
            votes: list[dict[str, float]] = []
            while (sound := await source.peek(len(votes))) is not None:
                outcome = await self.listener.detect_language(sound, self.plan)
                if not votes:
                    source.encoded = outcome.encoded  # megabytes: of the first window alone
                votes.append(outcome.languages)
                if self._settle_language(votes):
                    break
            if votes and self.plan.is_language_open:
                self._settle_language(votes, is_over=True)
        context = Context(said=list(self.plan.prompt), prefix=self.plan.prefix)
        timeline = Timeline()
        async for said, seek in transcribe_passage(source, self.listener, self.plan, context):
            yield Done(said, timeline, seek / FRAMES_PER_SECOND)

    async def _in_turn(self, windows: Iterator[Window]) -> AsyncGenerator[Done, None]:
        context = Context(said=list(self.plan.prompt), prefix=self.plan.prefix)
        async for window, encoded in self._in_language(windows):
            context.last_speech = 0.0
            source = WindowSource(window, encoded)
            async for said, _ in transcribe_passage(source, self.listener, self.plan, context):
                yield Done(said, Timeline(window), window.end)

    async def _parallel(self, windows: Iterator[Window]) -> AsyncGenerator[Done, None]:
        pending: deque[asyncio.Task[Done]] = deque()
        coming = self._in_language(windows)
        reading: asyncio.Task[tuple[Window, Any] | None] | None = None
        is_first, is_over = True, False
        broken: Exception | None = None
        while True:
            unfinished = {task for task in pending if not task.done()}
            if reading is None and not is_over and self._is_worth_reading(unfinished, pending):
                reading = self._own(asyncio.ensure_future(next_or_none(coming)))
            if reading is None and not pending:
                if broken is not None:
                    raise broken
                return
            waiting: set[asyncio.Task[Any]] = {task for task in (reading,) if task is not None}
            await asyncio.wait(waiting | unfinished, return_when=asyncio.FIRST_COMPLETED)
            if reading is not None and reading.done():
                if (broken := _failure(reading)) is not None:
                    is_over = True  # what came before is still told
                elif (item := reading.result()) is None:
                    is_over = True
                else:
                    task = asyncio.ensure_future(self._window(*item, is_first=is_first))
                    pending.append(self._own(task))
                    is_first = False
                reading = None
            while pending and pending[0].done():
                yield pending.popleft().result()

    def _is_worth_reading(self, unfinished: Collection[Any], pending: Collection[Any]) -> bool:
        """Whether another window should be ready; those that only wait for one before them keep nobody busy."""
        look_ahead = self.lane.look_ahead
        return len(unfinished) < look_ahead and len(pending) < 2 * look_ahead

    def _own(self, task: "asyncio.Task[Any]") -> "asyncio.Task[Any]":
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # The first window that fails ends the request; asyncio would log those behind it as bugs.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _window(self, window: Window, encoded: Any, *, is_first: bool) -> Done:
        """One window that depends on no other."""
        context = Context(said=list(self.plan.prompt), prefix=self.plan.prefix if is_first else ())
        source = WindowSource(window, encoded)
        segments: list[Said] = []
        async for said, _ in transcribe_passage(source, self.listener, self.plan, context):
            segments += said
        return Done(segments, Timeline(window), window.end)

    # --- language -------------------------------------------------------------------------------

    def _settle_language(self, votes: list[dict[str, float]], *, is_over: bool = False) -> bool:
        if not is_over and not is_settled(votes, self.plan.options):
            return False
        self.language = choose_language(votes, self.plan.options)
        self.plan = self.plan.in_language(self.language.code)
        return True

    @property
    def _hears_once(self) -> bool:
        """Whether one vote tells the language, whatever it is.

        Where the first window has that vote alone, it is heard and decoded in one step: a short clip
        beside a long file waits for one batch, not for two. What may be refused is not decoded first.
        """
        options = self.plan.options
        may_refuse = options.languages is not None and options.on_other_language == "reject"
        return (
            self.plan.is_language_open
            and options.language_detection_segments == 1
            and not may_refuse
        )

    async def _in_language(self, windows: Iterator[Window]) -> AsyncIterator[tuple[Window, Any]]:
        """Windows as they come, as soon as it is known in which language or that the first one will tell."""
        if not self._hears_once:
            async for pair in self._with_language(windows):
                yield pair
            return
        ballot = Ballot()
        broken: Exception | None = None
        try:
            while not ballot.is_enough and (window := await self.reading.next(windows)) is not None:
                ballot.windows.append(window)
        except Exception as error:
            broken = error  # what came before is still told
        tells = self._from_first_window if len(ballot.windows) < 2 else self._with_language
        async for pair in tells(chain(ballot.windows, windows)):
            yield pair
        if broken is not None:
            raise broken

    async def _from_first_window(
        self, windows: Iterator[Window]
    ) -> AsyncIterator[tuple[Window, Any]]:
        """Windows as they come; all but the first wait until that has told the language."""
        is_first = True
        self.listener.on_language = self._first_language
        while (window := await self.reading.next(windows)) is not None:
            self._count(window)
            if not is_first:
                await self._language_known.wait()
            is_first = False
            yield window, None

    def _first_language(self, languages: dict[str, float]) -> None:
        if self.plan.is_language_open:
            self._settle_language([languages])
        self._language_known.set()

    async def _with_language(self, windows: Iterator[Window]) -> AsyncIterator[tuple[Window, Any]]:
        """Windows as they come; the first ones are held back until the language is settled."""
        held: list[tuple[Window, Any]] = []
        votes: list[dict[str, float]] = []
        ballot = Ballot()
        broken: Exception | None = None
        while broken is None:
            try:
                window = await self.reading.next(windows)
            except Exception as error:
                broken = error  # what came before is still told
                continue
            if window is None:
                break
            self._count(window)
            if not self.plan.is_language_open:
                yield window, None
                continue
            ballot.windows.append(window)
            if ballot.is_enough:
                held += await self._vote(ballot, votes)
                ballot = Ballot()
                if self._settle_language(votes):
                    for pair in held:
                        yield pair
                    held = []
        if ballot.windows and not votes:
            held += await self._vote(ballot, votes)
            ballot = Ballot()
        if votes and self.plan.is_language_open:
            self._settle_language(votes, is_over=True)
        for pair in [*held, *((window, None) for window in ballot.windows)]:
            yield pair
        if broken is not None:
            raise broken

    async def _vote(
        self, ballot: Ballot, votes: list[dict[str, float]]
    ) -> list[tuple[Window, Any]]:
        """Hear for whom a ballot votes; return its windows, the file's first with the encoder's output if it is alone."""
        outcome = await self.listener.detect_language(ballot.sound, self.plan)
        encoded = outcome.encoded if len(ballot.windows) == 1 and not votes else None
        votes.append(outcome.languages)
        return [(window, encoded) for window in ballot.windows]

    def _count(self, window: Window) -> None:
        speech = sum(span.length for span in window.speech) / SAMPLE_RATE
        self.speech_seconds = (self.speech_seconds or 0.0) + speech
        self.kept_seconds = (self.kept_seconds or 0.0) + window.duration


def _failure(task: asyncio.Task[Any]) -> Exception | None:
    """Return what went wrong in a finished task; being cancelled is raised."""
    error = task.exception()
    if error is not None and not isinstance(error, Exception):
        raise error
    return error
