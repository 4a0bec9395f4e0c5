"""The story of one request that was taken: from its first window to its last event."""

import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass

from ..decoding.doubt import is_left_out
from ..decoding.look import Said
from ..errors import ModelUnavailable, ServiceError
from ..scheduler import BatchTooLarge
from ..scripts import spaced
from ..wire import Event, Failed, Finished, Progress, Segment
from .segments import split_at_silence, wire_segment
from .signs import signs_of_life
from .strategies import Done, Work

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RequestReport:
    """One request has ended well; for hooks, as those of the scheduler."""

    model: str
    finished: Finished
    segments: int
    doubts: Counter[str]


@contextmanager
def naming_lack_of_memory(model: str) -> Iterator[None]:
    """Say what an operator can do when not even one window fits into the device's memory."""
    try:
        yield
    except BatchTooLarge as exc:
        raise ModelUnavailable(
            f"The memory of the device is too small for one window of the model '{model}': serve a "
            "smaller model, fewer of them, or set WHISPER_COMPUTE_TYPE to int8",
            param="model",
        ) from exc


def failed(error: Exception, request_id: str) -> Failed:
    """The last event of a request that failed; what is no ServiceError is a bug, and goes to the log."""
    if not isinstance(error, ServiceError):
        log.error("id=%s a bug", request_id, exc_info=error)
        error = ServiceError("Internal server error")
    return Failed(
        status=error.status,
        code=error.code,
        message=error.message,
        param=error.param,
        retryable=error.retryable,
    )


class Story:
    """From the first window to the last event."""

    def __init__(
        self,
        request_id: str,
        model: str,
        work: Work,
        hooks: list[Callable[[RequestReport], None]],
        likely_seconds: Callable[[], float],
    ) -> None:
        self._request_id = request_id
        self._model = model
        self._likely_seconds = likely_seconds
        self._work = work
        self._hooks = hooks
        self._began = time.monotonic()
        self._done_seconds = 0.0
        self._segments = 0
        self._doubts = Counter[str]()
        self._first: Said | None = None
        """The first segment that was told."""
        self._text_before = ""
        self._has_other_language = False
        self._has_left_out = False

    async def events(self) -> AsyncGenerator[Event, None]:
        """Segments and progress, then `finished` or `failed`."""
        try:
            with naming_lack_of_memory(self._model):
                async with (
                    aclosing(self._work.run()) as work,
                    aclosing(signs_of_life(work)) as steps,
                ):
                    async for done in steps:
                        # What is read waits in the queue, is done, or was dropped as silence.
                        coming = self._likely_seconds() - self._work.reading.seconds
                        self._work.lane.expect(coming)
                        if done is not None:
                            # A passage ends with a whole frame, of which a part may be audio.
                            until = min(done.until, self._work.reading.seconds)
                            self._done_seconds = max(self._done_seconds, until)
                            for segment in self._segments_of(done):
                                yield segment
                        elif self._work.lane.is_stalled:
                            continue  # no sign of life, so that who waits for one can give up
                        yield self._progress()
            yield self._finished()
        except Exception as error:
            yield failed(error, self._request_id)
        finally:
            await self._work.close()

    def _segments_of(self, done: Done) -> Iterator[Segment]:
        plan, vocabulary = self._work.plan, self._work.listener.vocabulary
        for said in split_at_silence(done.said, done.timeline, vocabulary):
            segment = wire_segment(
                said,
                number=self._segments,
                timeline=done.timeline,
                plan=plan,
                vocabulary=vocabulary,
            )
            self._doubts.update(segment.flags)
            heard = said.outcome.language
            is_expected = plan.is_expected and (heard is None or heard.is_expected)
            self._has_other_language = self._has_other_language or not is_expected
            if plan.options.doubtful == "drop" and is_left_out(segment.flags):
                self._has_left_out = True
                continue
            if plan.options.doubtful == "keep":
                segment = segment.model_copy(update={"flags": []})
            self._segments += 1
            self._first = self._first or said
            yield self._spaced(segment)

    def _spaced(self, segment: Segment) -> Segment:
        """Put a space between a segment and the one before where the model has written none."""
        text = spaced(self._text_before, segment.text)
        self._text_before = text
        if text == segment.text:
            return segment
        words = segment.words
        if words:
            first = words[0].model_copy(update={"word": f" {words[0].word}"})
            words = [first, *words[1:]]
        return segment.model_copy(update={"text": text, "words": words})

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
            rtf=_rounded((time.monotonic() - self._began - lane.queue_seconds) / duration),
            flags=self._flags(probability),
        )
        report = RequestReport(self._model, finished, self._segments, self._doubts)
        for hook in self._hooks:
            try:
                hook(report)
            except Exception:
                log.exception("a hook failed")
        return finished

    def _language(self) -> tuple[str | None, float | None]:
        """The language told at the end: forced, detected, or null when nothing was said.

        Where every window is heard anew, it is that of the first one with text.
        """
        options = self._work.plan.options
        if options.multilingual and self._first is not None:
            first = self._first.outcome.language
            return self._first.language, None if first is None else first.probability
        if options.named_language is not None:
            return options.named_language, None
        if not self._segments:
            return None, None
        heard = self._work.language
        return self._work.plan.language, None if heard is None else heard.probability

    def _flags(self, probability: float | None) -> list[str]:
        heard = self._work.language
        is_other = self._has_other_language or (heard is not None and not heard.is_expected)
        flags = {
            "truncated": self._work.reading.is_truncated,
            "no_speech": not self._segments and not self._doubts,
            "other_language": is_other,
            "language_uncertain": probability is not None
            and probability <= self._work.plan.options.language_detection_threshold,
            "doubtful_dropped": self._has_left_out,
        }
        return [name for name, holds in flags.items() if holds]


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
