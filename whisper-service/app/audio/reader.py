"""Bytes to samples, block by block, so that memory does not grow with the length of a file.

A damaged packet is skipped, as players do. An end that comes too early is told (`truncated`); where
reading itself fails within the first window's worth of samples, the file is refused.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.error import FFmpegError
from av.packet import Packet

from ..closing import Closing
from ..errors import AudioTooLong, AudioTooShort, InvalidAudio, UnsupportedMedia
from .container import GAPS, check_shape, decoder_of, open_audio, read_header
from .extent import missing_share
from .packets import holds_more
from .rest import next_link

SAMPLE_RATE = 16_000
WORTH_COUNTING = 0.9
"""Share of the longest duration from which on an estimate is checked; most are within a tenth."""
LEAST_BYTES = 3000
"""A second of the lowest rate at which a file that says nothing of its duration is worth counting, 24 kbit/s."""
Samples = npt.NDArray[np.float32]

BLOCK_SECONDS = 2.0
FIRST_WINDOW_SECONDS = 30.0
SHORTEST_SECONDS = 0.1
CANCELLED = 0.001
"""Share of a channel's power that is left of it in the mean of two that are each other's opposite; 30 dB."""
MISSING_SECONDS = 1.0
"""How much less than its header says a file may hold before it is called truncated."""


class AudioReader(Closing):
    """One file being read. A context manager; the file itself stays its owner's."""

    def __init__(self, file: BinaryIO, *, max_seconds: float) -> None:
        """Open `file` (binary, seekable) by its content.

        Raises UnsupportedMedia, InvalidAudio, or AudioTooLong when its header or its packets already
        say so.
        """
        self.seconds = 0.0
        """Seconds decoded so far."""
        self.truncated = False
        """Whether the end of the audio is missing; known after the last block."""
        self._max_seconds = max_seconds
        self._until: float | None = None
        """Where the last frame ends, by the container's clock."""
        self._behind = 0.0
        """By how many seconds that clock is ahead of what was decoded, gaps too short to be told in themselves."""
        self._missing_share = missing_share(file)
        size = file.seek(0, os.SEEK_END)
        self._open(file)
        self.duration = self._header.duration and self._header.duration + self._header.lead
        """Seconds that the container's header promises; None when it says nothing that can be true."""
        try:
            self._check_duration(file, size)
        except BaseException:
            self.close()
            raise

    def _open(self, file: BinaryIO) -> None:
        self._file = file
        self._container, self._stream = open_audio(file)
        self._header = read_header(self._container, self._stream)
        self._decoder = decoder_of(self._stream)

    def close(self) -> None:
        """Free what libav holds; the file stays open."""
        self._container.close()

    def blocks(self) -> Iterator[Samples]:
        """Yield the samples (float32, mono, 16 kHz, -1 to 1) in blocks of about BLOCK_SECONDS.

        Raises AudioTooLong as soon as more than `max_seconds` are decoded, InvalidAudio when nothing
        is decodable or the file breaks off within its first window, AudioTooShort at the end of
        less than SHORTEST_SECONDS.
        """
        for samples in _gather(self._samples()):
            self.seconds += len(samples) / SAMPLE_RATE
            if self.seconds > self._max_seconds:
                raise _too_long(self._max_seconds)
            yield samples
        if self.seconds == 0:
            raise InvalidAudio("The file holds no audio that can be decoded", param="file")
        if self.seconds < SHORTEST_SECONDS:
            message = f"The audio is shorter than {SHORTEST_SECONDS} seconds"
            raise AudioTooShort(message, param="file")
        self.truncated |= self.seconds * self._missing_share > MISSING_SECONDS
        if self._header.is_certain and self._header.is_of_track:
            # Where nothing was sent for long, the last timestamp tells how far the file goes.
            last = (self._until or 0.0) - self._header.first_timestamp
            reached = max(self.seconds, last + self._header.lead)
            self.truncated |= (self.duration or 0.0) - reached > MISSING_SECONDS

    def _check_duration(self, file: BinaryIO, size: int) -> None:
        """Raise AudioTooLong where that is certain already, so that no work is lost on the file."""
        told, most = self.duration or 0.0, self._max_seconds
        if self._header.is_certain and self._header.is_of_track:
            is_too_long = told > most
        else:
            # A picture may be longer than its sound. To count the packets of hours takes most of a second: a file said
            # to be well below does not wait for it, nor one that says nothing and is small.
            is_worth_it = (not told and size > LEAST_BYTES * most) or told > WORTH_COUNTING * most
            is_too_long = is_worth_it and holds_more(file, most)
        if is_too_long:
            raise _too_long(most)
        if told > most:
            self.duration = None  # its packets hold less

    def _samples(self) -> Iterator[Samples]:
        mixer = _Mixer()
        try:
            for frame in self._frames():
                if gap := self._gap(frame):
                    yield from mixer.flush()
                    yield from _silence(gap)
                yield from mixer.push(frame)
            yield from mixer.flush()
        except FFmpegError as exc:
            raise InvalidAudio("The audio cannot be converted", param="file") from exc

    def _frames(self) -> Iterator[AudioFrame]:
        """Yield what decodes; a packet that does not is skipped, a file that breaks off ends it."""
        packets, at = self._container.demux(self._stream), 0
        while True:
            try:
                packet = next(packets, None)
            except IndexError:
                return  # PyAV's, at the end of a file in which a track has appeared on the way
            except (FFmpegError, OSError) as exc:
                is_ours = isinstance(exc, FFmpegError)
                if is_ours and (link := next_link(self._file, at)) is not None:
                    packets, at = self._go_on(link), 0
                    continue
                has_heard = is_ours and self._until is not None
                if not has_heard and self.seconds < FIRST_WINDOW_SECONDS:
                    raise InvalidAudio("The file is damaged: it breaks off", param="file") from exc
                self.truncated = True
                return
            if packet is None:
                return
            at = packet.pos or at
            if not packet.size and self._decoder is not self._stream.codec_context:
                continue  # nothing is held back there
            try:
                frames = self._decoder.decode(packet)
            except FFmpegError:
                continue
            yield from frames

    def _go_on(self, link: BinaryIO) -> "Iterator[Packet[AudioStream]]":
        """Go on with the next of several Ogg files in one: libav does where neither codec nor shape change."""
        self._container.close()
        try:
            self._open(link)
        except (InvalidAudio, UnsupportedMedia):
            self.truncated = True
            return iter(())
        self._header = replace(self._header, is_certain=False)  # it is that of one of them
        self._until = None
        return self._container.demux(self._stream)

    def _gap(self, frame: AudioFrame) -> float:
        """Seconds of silence before a frame: what was not sent or got lost stands between timestamps.

        A player shows the picture and plays nothing there; text that closed up would run ahead of it.
        """
        before = self._until
        if frame.pts is not None and frame.time_base is not None:
            begin = float(frame.pts * frame.time_base)
        else:
            begin = before or 0.0
        self._until = begin + frame.samples / frame.sample_rate
        if before is None:
            return self._header.silence_before(begin if frame.pts is not None else None)
        step = begin - before
        if not self._header.is_clocked:
            return step if self._is_gap(step) else 0.0
        has_jumped = step < -GAPS[0] or step > self._header.longest_gap
        self._behind = 0.0 if has_jumped else self._behind + step
        if not self._is_gap(self._behind):
            return 0.0
        gap, self._behind = self._behind, 0.0
        return gap

    def _is_gap(self, seconds: float) -> bool:
        """Whether so long a time between two timestamps is silence."""
        return GAPS[0] < seconds <= self._header.longest_gap


class _Mixer:
    """Frames of any kind to mono samples at 16 kHz; frames are resampled a block at a time.

    A stream may change its rate or its channels on the way (joined MP3 files, AAC whose header names half
    the rate): then the resampler is drained and made anew.
    """

    def __init__(self) -> None:
        self._shape: tuple[str, str, int] | None = None
        self._fifo = AudioFifo()
        self._resampler = AudioResampler()

    def push(self, frame: AudioFrame) -> Iterator[Samples]:
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:
            check_shape(frame.sample_rate, frame.layout.nb_channels)
            yield from self.flush()
            self._shape = shape
            self._fifo = AudioFifo()
            # Where channels have no places in a room that libswresample knows, it would guess some, and
            # leave out what it takes for a subwoofer. Those are mixed here, and two as well.
            name = frame.layout.name
            is_ours = "channels" in name or "ambisonic" in name or name == "stereo"
            layout = name if is_ours else "mono"
            # Float output would be mixed 3 dB louder than 16-bit output, and clip.
            options = {"rematrix_maxval": "1"}
            self._resampler = AudioResampler("flt", layout, SAMPLE_RATE, options=options)
        frame.pts = None  # what the resampler would make of gaps is not what is wanted
        self._fifo.write(frame)
        if self._fifo.samples >= BLOCK_SECONDS * frame.sample_rate:
            yield from self._resample(self._fifo.read())

    def flush(self) -> Iterator[Samples]:
        if self._shape is not None:
            if self._fifo.samples:
                yield from self._resample(self._fifo.read())
            yield from self._resample(None)
            self._shape = None

    def _resample(self, frame: AudioFrame | None) -> Iterator[Samples]:
        for resampled in self._resampler.resample(frame):
            # Interleaved, since PyAV reads past the planes of a frame of more than 8 channels.
            interleaved = resampled.to_ndarray().reshape(-1, resampled.layout.nb_channels)
            finite: Samples = np.nan_to_num(interleaved, posinf=1.0, neginf=-1.0)
            yield np.clip(_mixed(finite), -1.0, 1.0, dtype=np.float32)


def _mixed(channels: Samples) -> Samples:
    """One channel of several, shape (sample, channel): their mean.

    Two that cancel each other out, as a balanced microphone on a stereo jack gives, are heard as the first.
    """
    mean: Samples = channels.mean(axis=1)
    first = channels[:, 0]
    if channels.shape[1] == 2 and np.dot(mean, mean) < CANCELLED * np.dot(first, first):
        return first
    return mean


def _silence(seconds: float) -> Iterator[Samples]:
    left = round(seconds * SAMPLE_RATE)
    while left > 0:
        piece = min(left, int(BLOCK_SECONDS * SAMPLE_RATE))
        yield np.zeros(piece, np.float32)
        left -= piece


def _gather(pieces: Iterator[Samples]) -> Iterator[Samples]:
    """Join short pieces to blocks, and cut long ones."""
    held: list[Samples] = []
    block = int(BLOCK_SECONDS * SAMPLE_RATE)
    for piece in pieces:
        held.append(piece)
        if sum(map(len, held)) >= block:
            joined = np.concatenate(held)
            whole = len(joined) // block * block
            yield from np.split(joined[:whole], whole // block)
            held = [joined[whole:]]
    rest = np.concatenate([*held, np.empty(0, np.float32)])
    if len(rest):
        yield rest


def _too_long(max_seconds: float) -> AudioTooLong:
    return AudioTooLong(f"The audio is longer than {max_seconds:g} seconds", param="file")
