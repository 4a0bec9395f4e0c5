"""Signs of life: whoever waits for work that takes long learns that it goes on."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

T = TypeVar("T")

EVERY_SECONDS = 5.0


async def signs_of_life(items: AsyncIterator[T]) -> AsyncGenerator[T | None, None]:
    """Pass items on; None whenever there was none for EVERY_SECONDS."""
    while True:
        coming = asyncio.ensure_future(next_or_none(items))
        try:
            while not (await asyncio.wait({coming}, timeout=EVERY_SECONDS))[0]:
                yield None
        finally:
            if not coming.done():
                coming.cancel()
                await asyncio.wait({coming})
        item = coming.result()
        if item is None:
            return
        yield item


async def next_or_none(items: AsyncIterator[T]) -> T | None:
    """Return the next item, None behind the last; a coroutine, which a task can be made of."""
    return await anext(items, None)
