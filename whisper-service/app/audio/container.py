"""Opening a stranger's file with libav: which containers and codecs are taken, and what is refused.

The content decides, never a name or a MIME type. libav gets an open file object and nothing else: its
protocols are switched off and a nested open is refused, so that no playlist or concat script can make
it read another file or the network. Codecs of pictures are switched off too, since probing a video
would otherwise run them. Sources: FFmpeg's format options `format_whitelist`, `protocol_whitelist` and
`codec_whitelist`.
"""

from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn, cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.codec import CodecContext, codecs_available
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Discard

from ..errors import InvalidAudio, UnsupportedMedia
from .extent import behind_tags
from .rest import rest_of

DEMUXERS = (
    "wav,w64,aiff,au,caf,flac,mp3,aac,ac3,eac3,amr,ogg,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,asf,avi,flv,"
    "mpegts,mpeg"
)
COMPRESSED = (
    "aac,aac_latm,ac3,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,alac,amrnb,amrwb,dca,eac3,flac,gsm,gsm_ms,mlp,mp1,"
    "mp1float,mp2,mp2float,mp3,mp3float,opus,speex,truehd,vorbis,wmalossless,wmapro,wmav1,wmav2,wmavoice"
)
DECODERS = {name for name in codecs_available if name.startswith("pcm_")} | {*COMPRESSED.split(",")}
OPTIONS = {
    "format_whitelist": DEMUXERS,
    "codec_whitelist": ",".join(sorted(DECODERS)),
    "protocol_whitelist": "none",
    "merge_pmt_versions": "1",  # joined MPEG-TS goes on in its tracks, whatever their numbers are then
}
PROBING_ON = {"probesize": "50000000", "analyzeduration": "60000000"}
"""For FLV in which the sound begins late: its header names no tracks."""
PAUSING = {"amrnb": "libopencore_amrnb", "amrwb": "libopencore_amrwb"}
"""Decoders that know pauses in which nothing is sent, where libav's own refuse their packets."""
ESTIMATING = frozenset({"aac", "ac3", "eac3", "amr", "asf", "avi", "mp3", "mpeg", "mpegts"})
"""Demuxers that guess a duration, from the bit rate or the last packets, where no header gives one. AVI's counts
what the sound came late by, and not when it comes."""
COUNTING = frozenset({"avi", "aac", "ac3", "aiff", "amr", "au", "caf", "eac3", "mp3", "w64", "wav"})
"""Demuxers whose timestamps are counted, from bytes or frames, by the rate at the beginning."""
ENDING = frozenset({"matroska", "webm", "asf", "flac", "flv"})
"""Demuxers whose duration is the timestamp at the end, wherever the first one stands; Ogg's is with Opus."""
GAPS = (0.2, 600.0)
"""Seconds without sound by which timestamps are ahead that are silence: less is rounding, more a clock that jumped,
unless the file itself says that it is as long."""
LEAST_LEAD = 0.02
"""Seconds by which sound begins after its picture that are silence: there nothing is rounded."""
SAMPLE_RATES = range(4_000, 384_001)
"""Below, a few bytes would become hours of samples; above, nothing real is recorded."""
CHANNELS = range(1, 65)

ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"%PDF")
"""What can hold sound uncompressed and would be mistaken for it."""
# What a file that we take begins with: (offset, bytes). It only chooses the words of a refusal.
SIGNATURES = (
    (8, b"WAVE"), (8, b"AVI "), (0, b"FLV"), (0, b"RF64"), (0, b"riff"), (0, b"FORM"), (0, b".snd"), (0, b"caff"),
    (0, b"fLaC"), (0, b"ID3"), (0, b"OggS"), (0, b"\x1aE\xdf\xa3"), (4, b"ftyp"), (4, b"moov"), (4, b"mdat"),
    (0, b"#!AMR"), (0, b"\x30\x26\xb2\x75"), (0, b"\x00\x00\x01\xba"),
)  # fmt: skip


def open_audio(file: BinaryIO) -> tuple[InputContainer, AudioStream]:
    """Open `file` (binary, seekable) and find its first audio track that can be decoded.

    Raises UnsupportedMedia for what is no audio or video that we take, InvalidAudio for what is one
    but cannot be read, has no audio track, or claims an absurd sample rate or number of channels.
    """
    file.seek(0)
    head = file.read(16)
    if not head:
        raise InvalidAudio("The file is empty", param="file")
    if head.startswith(ARCHIVES):
        raise UnsupportedMedia("The file is an archive or a document", param="file")
    # libav takes AAC or FLAC for MP3 where their tags hold a large cover, and WAV with tags for nothing.
    behind = rest_of(file, behind_tags(file))
    try:
        container = _opened(behind, OPTIONS)
        if container.format.name == "flv" and not container.streams.audio:
            container.close()
            container = _opened(behind, OPTIONS | PROBING_ON)
    except (FFmpegError, ValueError) as exc:
        if any(head[offset:].startswith(magic) for offset, magic in SIGNATURES):
            raise InvalidAudio("The file is damaged: it cannot be read", param="file") from exc
        message = "The file is not audio or video in a format that is taken"
        raise UnsupportedMedia(message, param="file") from exc
    try:
        return container, _first_track(container)
    except BaseException:
        container.close()
        raise


def _opened(file: BinaryIO, options: dict[str, str]) -> InputContainer:
    file.seek(0)
    return av.open(
        file, "r", options=options, metadata_errors="ignore", io_open=_refuse_nested_file
    )


def decoder_of(stream: AudioStream) -> AudioCodecContext:
    """Return what decodes the packets of an opened track."""
    codec = stream.codec_context
    name = PAUSING.get(codec.name, "")
    if name not in codecs_available:
        return codec
    decoder = cast("AudioCodecContext", CodecContext.create(name, "r"))
    decoder.sample_rate, decoder.layout = codec.sample_rate, "mono"
    return decoder


@dataclass(frozen=True)
class Header:
    """What a file says of its own duration, in seconds."""

    duration: float | None
    """Of the audio track, else of the whole file; None when nothing is said."""
    is_certain: bool
    """Whether that is written in the file and not guessed from its bit rate."""
    is_of_track: bool
    """Whether the audio track itself must be that long."""
    first_timestamp: float
    """Where the track begins by the container's clock; recordings of a live stream begin anywhere."""
    origin: float
    """Where the file's first track begins by that clock."""
    lead: float
    """By how much the audio track is said to begin after that, such as a picture without sound."""
    longest_gap: float
    """Seconds: so long a time between two timestamps may be silence; of a longer one the clock has jumped."""
    is_clocked: bool
    """Whether timestamps come from a clock, and are not counted."""

    def silence_before(self, first: float | None) -> float:
        """Seconds without sound before the first frame, of this timestamp if it has one.

        A track that begins behind what libav probes is said to begin with the file.
        """
        if first is None or not self.is_clocked:
            return self.lead
        return _lead(first - self.origin, self.longest_gap)


def read_header(container: InputContainer, stream: AudioStream) -> Header:
    """Return what an opened file says of its duration."""
    names, codec = set(container.format.name.split(",")), stream.codec_context.name
    begin = float((stream.start_time or 0) * (stream.time_base or 0))
    origin = (container.start_time or 0) / av.time_base
    # A piece of a live stream, in which libav's duration is where it ends: all of its tracks begin late, and
    # no index tells of its samples.
    is_piece = "mov" in names and origin > GAPS[0] and not stream.frames
    # Without a `fact` chunk a compressed WAV's is guessed too, from the bit rate in its header; what writes AIFF
    # into a pipe cannot know.
    is_estimated = names == {"aiff"} or (names == {"wav"} and not codec.startswith("pcm_"))
    is_joined_late = names == {"ogg"} and codec == "flac"
    is_certain = not (is_estimated or is_piece or is_joined_late or ESTIMATING & names)
    longest = GAPS[1]
    if is_certain and container.duration is not None:
        longest = max(longest, container.duration / av.time_base)
    clock = (begin, origin, _lead(begin - origin, longest), longest, not COUNTING & names)
    counts_from_zero = is_piece or ENDING & names or (names == {"ogg"} and codec == "opus")
    if stream.duration is not None and stream.time_base is not None:
        # Matroska tells that of the whole file alone, and libav says the same of each track.
        is_of_track = not {"matroska", "webm"} & names or len(container.streams) == 1
        duration = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        duration, is_of_track = container.duration / av.time_base, len(container.streams) == 1
    else:
        return Header(None, False, False, *clock)
    if counts_from_zero and duration > begin > 0:
        duration -= begin
    return Header(duration, is_certain, is_of_track, *clock)


def _lead(seconds: float, longest: float) -> float:
    """By how much sound begins late; 0 for what is rounding, or a clock that jumped."""
    return seconds if LEAST_LEAD < seconds <= longest else 0.0


def check_shape(sample_rate: int, channels: int) -> None:
    """Raise InvalidAudio for a sample rate or a number of channels that nobody records."""
    if sample_rate not in SAMPLE_RATES:
        raise InvalidAudio(f"A sample rate of {sample_rate} Hz is not taken", param="file")
    if channels not in CHANNELS:
        raise InvalidAudio(f"{channels} channels are not taken", param="file")


def _first_track(container: InputContainer) -> AudioStream:
    if not container.streams.audio:
        raise InvalidAudio("The file has no audio track", param="file")
    taken = (
        s for s in container.streams.audio if s.codec_context and s.codec_context.name in DECODERS
    )
    if (stream := next(taken, None)) is None:
        raise UnsupportedMedia("The file's audio is in a codec that is not taken", param="file")
    codec = stream.codec_context
    if codec.sample_rate and codec.channels:  # else only the frames will tell
        check_shape(codec.sample_rate, codec.channels)
    codec.thread_count = 1
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    return stream


def _refuse_nested_file(*_: Any) -> NoReturn:
    raise PermissionError("a media file may not open another file")
