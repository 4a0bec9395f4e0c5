"""Counting a file's audio without decoding it, where its header says nothing certain of its duration."""

from typing import BinaryIO

from av.error import FFmpegError

from .container import open_audio

PADDING_SECONDS = 1.0
"""How much more packets may hold than their decoder gives: encoders' delay, last frames filled up."""


def holds_more(file: BinaryIO, seconds: float) -> bool:
    """Whether the packets of `file` hold more than `seconds` of audio; leaves its position where it was.

    libav takes a packet's duration from its own header or its codec's frame size, so that this is no
    estimate. Where reading fails, only what comes before counts: whoever decodes will meet the same.
    """
    position = file.tell()
    try:
        container, stream = open_audio(file)
        with container:
            most = (seconds + PADDING_SECONDS) / float(stream.time_base or 1)
            found = 0
            for packet in container.demux(stream):
                found += packet.duration or 0
                if found > most:
                    return True
    except (FFmpegError, OSError, IndexError):  # the last is PyAV's, see `reader`
        pass
    finally:
        file.seek(position)
    return False
