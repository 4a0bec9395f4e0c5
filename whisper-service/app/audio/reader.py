"""Bytes to samples, block by block, so that memory does not grow with the length of a file.

A damaged packet is skipped, as players do. An end that comes too early is told (`truncated`); where
reading itself fails within the first window's worth of samples, the file is refused.
"""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.error import FFmpegError

from ..closing import Closing
from ..errors import AudioTooLong, AudioTooShort, InvalidAudio
from .container import check_shape, open_audio, read_header
from .extent import missing_share
from .packets import holds_more

SAMPLE_RATE = 16_000
WORTH_COUNTING = 0.9
"""Share of the longest duration from which on an estimate is checked; most are within a tenth."""
Samples = npt.NDArray[np.float32]

BLOCK_SECONDS = 2.0
FIRST_WINDOW_SECONDS = 30.0
SHORTEST_SECONDS = 0.1
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
        self._last_pts = 0
        """Where the last frame begins, in steps of the track's clock."""
        self._missing_share = missing_share(file)
        self._container, self._stream = open_audio(file)
        self._header = read_header(self._container, self._stream)
        self.duration = self._header.duration
        """Seconds that the container's header promises; None when it says nothing."""
        try:
            if self._is_too_long(file):
                raise _too_long(max_seconds)
        except BaseException:
            self.close()
            raise

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
            # Where nothing was sent for a while, the last timestamp tells how far the file goes.
            last = float(self._last_pts * (self._stream.time_base or 0))
            reached = max(self.seconds, last - self._header.first_timestamp)
            self.truncated |= (self.duration or 0.0) - reached > MISSING_SECONDS

    def _is_too_long(self, file: BinaryIO) -> bool:
        """Whether that is certain already, so that no work is lost on the file."""
        told = self.duration or 0.0
        if self._header.is_certain:
            return told > self._max_seconds
        # To count the packets of hours takes most of a second: a file said to be well below the limit does not wait for it.
        return told > WORTH_COUNTING * self._max_seconds and holds_more(file, self._max_seconds)

    def _samples(self) -> Iterator[Samples]:
        mixer = _Mixer()
        try:
            for frame in self._frames():
                yield from mixer.push(frame)
            yield from mixer.flush()
        except FFmpegError as exc:
            raise InvalidAudio("The audio cannot be converted", param="file") from exc

    def _frames(self) -> Iterator[AudioFrame]:
        """Yield what decodes; a packet that does not is skipped, a file that breaks off ends it."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (FFmpegError, OSError) as exc:
                if self.seconds < FIRST_WINDOW_SECONDS:
                    raise InvalidAudio("The file is damaged: it breaks off", param="file") from exc
                self.truncated = True
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except FFmpegError:
                continue
            for frame in frames:
                if frame.pts is not None:
                    self._last_pts = frame.pts
                yield frame


class _Mixer:
    """Frames of any kind to mono samples at 16 kHz; frames are resampled a block at a time.

    A stream may change its rate or its channels on the way (chained Ogg, joined MP3 files, AAC whose
    header names half the rate): then the resampler is drained and made anew.
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
            # leave out what it takes for a subwoofer: the plain mean is taken.
            name = frame.layout.name
            layout = name if "channels" in name or "ambisonic" in name else "mono"
            # Float output would be mixed 3 dB louder than 16-bit output, and clip.
            options = {"rematrix_maxval": "1"}
            self._resampler = AudioResampler("flt", layout, SAMPLE_RATE, options=options)
        # Gaps between timestamps are not filled: what is heard counts.
        frame.pts = None
        self._fifo.write(frame)
        if self._fifo.samples >= BLOCK_SECONDS * frame.sample_rate:
            yield from self._resample(self._fifo.read())

    def flush(self) -> Iterator[Samples]:
        if self._shape is not None:
            if self._fifo.samples:
                yield from self._resample(self._fifo.read())
            yield from self._resample(None)

    def _resample(self, frame: AudioFrame | None) -> Iterator[Samples]:
        for resampled in self._resampler.resample(frame):
            # Interleaved, since PyAV reads past the planes of a frame of more than 8 channels.
            interleaved = resampled.to_ndarray().reshape(-1, resampled.layout.nb_channels)
            finite = np.nan_to_num(interleaved, posinf=1.0, neginf=-1.0)
            yield np.clip(finite.mean(axis=1), -1.0, 1.0, dtype=np.float32)


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
