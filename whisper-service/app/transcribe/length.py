"""How long a file probably is while it is still being read: what admission and the backlog count with.

Some containers write their duration down, some have it guessed from the bit rate of their first
bytes, and recordings of a live stream say nothing at all.
"""

BYTES_PER_SECOND = 8_000
"""64 kbit/s: what speech is usually recorded with; for files that say nothing of their duration."""


def likely_seconds(
    told: float | None, *, size: int, read: float, is_over: bool, most: float
) -> float:
    """Return the seconds of audio in a file of `size` bytes of which `read` seconds are read.

    `told` is what its container says; `most` is the longest audio that is taken, beyond which
    nothing counts, since the request would end there.
    """
    if is_over:
        return read
    guess = size / BYTES_PER_SECOND if told is None else told
    return max(read, min(guess, most))
