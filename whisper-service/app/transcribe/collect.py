"""The JSON answer: the same events, put together."""

from collections.abc import AsyncIterator

from ..errors import RemoteError, ServiceError
from ..wire import Event, Failed, Finished, Segment, Transcript


async def collect(events: AsyncIterator[Event]) -> Transcript:
    """Return the whole answer. Raises the failure that the events end with."""
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
