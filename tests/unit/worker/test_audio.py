"""Samples from every kind of file, and refusals for everything that only looks like one."""

import io
import os
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import BinaryIO

import av
import numpy as np
import pytest
from faster_whisper.audio import decode_audio
from house import DATA
from worker.audio import SAMPLE_RATE, AudioReader
from worker.audio.rest import rest_of
from worker.errors import (
    AudioTooLong,
    AudioTooShort,
    InvalidAudio,
    UnsupportedMedia,
)

FORMATS = sorted((DATA / "formats").iterdir())
HOUR = 3600.0
LONG_FLAC = DATA / "long" / "en-90s.flac"


def read(content: bytes, max_seconds: float = HOUR) -> tuple[np.ndarray, AudioReader]:
    with AudioReader(io.BytesIO(content), max_seconds=max_seconds) as reader:
        return np.concatenate(list(reader.blocks())), reader


def wav(
    samples: np.ndarray, rate: int = SAMPLE_RATE, channels: int = 1, claimed: int | None = None
) -> bytes:
    data = samples.tobytes()
    bits, kind = samples.itemsize * 8, 3 if samples.dtype.kind == "f" else 1
    frame = channels * samples.itemsize
    fmt = struct.pack("<HHIIHH", kind, channels, rate, rate * frame, frame, bits)
    claimed = len(data) if claimed is None else claimed
    riff = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", claimed)
    return b"RIFF" + struct.pack("<I", min(len(riff) + claimed, 0xFFFFFFFF)) + riff + data


def tone(seconds: float, rate: int = SAMPLE_RATE, peak: float = 0.5) -> np.ndarray:
    wave = np.sin(np.arange(int(seconds * rate)) * 2 * np.pi * 440 / rate)
    return (wave * peak * 32767).astype("<i2")


class _Pipe:
    """A file into which nobody can go back."""

    def __init__(self, file: io.BytesIO) -> None:
        self.write = file.write


def encoded(
    container: str,
    codec: str,
    seconds: float,
    rate: int = SAMPLE_RATE,
    clock: Callable[[float], float] = lambda at: at,
    bit_rate: int = 64_000,
    is_piped: bool = False,
    layout: str = "mono",
    coding: Mapping[str, str] = MappingProxyType({}),
    sound: np.ndarray | None = None,
    **options: str,
) -> bytes:
    """A tone, or a sound, in a container of libav's, its timestamps set by `clock`, for formats of which no sample ships."""
    file = io.BytesIO()
    target = _Pipe(file) if is_piped else file
    with av.open(target, "w", format=container, options=options) as output:
        stream = output.add_stream(
            codec, rate=rate, layout=layout, bit_rate=bit_rate, options=dict(coding)
        )
        samples = tone(seconds, rate) if sound is None else sound
        frame = av.AudioFrame.from_ndarray(samples[None, :], "s16", "mono")
        frame.sample_rate, frame.pts = rate, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            assert packet.pts is not None
            at = clock(float(packet.pts * packet.time_base))
            packet.pts = packet.dts = round(at / packet.time_base)
            output.mux(packet)
    return file.getvalue()


@pytest.mark.parametrize("path", FORMATS, ids=lambda path: path.name)
def test_every_shipped_format_gives_the_same_seven_seconds(path: Path) -> None:
    samples, reader = read(path.read_bytes())
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) / SAMPLE_RATE == pytest.approx(6.867, abs=0.12)
    assert reader.seconds == len(samples) / SAMPLE_RATE
    assert reader.duration == pytest.approx(6.867, abs=0.5)
    assert not reader.truncated


@pytest.mark.parametrize(
    "path",
    [*FORMATS, DATA / "real" / "jfk.flac", DATA / "real" / "stereo_diarization.wav"],
    ids=lambda path: path.name,
)
def test_samples_are_those_of_faster_whisper_to_one_step_of_16_bits(path: Path) -> None:
    samples, _ = read(path.read_bytes())
    expected = decode_audio(str(path))
    assert len(samples) == len(expected)
    assert float(np.abs(samples - expected).max()) <= 1 / 32768


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [
        ("aiff", "pcm_s16be", 44100),
        ("au", "pcm_mulaw", 8000),
        ("caf", "pcm_s16le", 48000),
        ("w64", "pcm_s16le", 16000),
        ("wav", "pcm_alaw", 8000),
        ("wav", "adpcm_ms", 22050),
        ("mp4", "alac", 44100),
        ("mp2", "mp2", 44100),
        ("mpegts", "mp2", 48000),
        ("mpeg", "mp2", 48000),
        ("ac3", "ac3", 48000),
        ("asf", "wmav2", 44100),
        ("3gp", "aac", 16000),
        ("amr", "libopencore_amrnb", 8000),
        ("avi", "mp3", 44100),
        ("avi", "pcm_s16le", 16000),
        ("flv", "mp3", 44100),
        ("eac3", "eac3", 48000),
    ],
)
def test_the_rest_of_the_families_is_read_too(container: str, codec: str, rate: int) -> None:
    samples, _ = read(encoded(container, codec, 3.0, rate))
    assert len(samples) / SAMPLE_RATE == pytest.approx(3.0, abs=0.15)
    assert float(np.abs(samples).max()) == pytest.approx(0.5, abs=0.1)


def test_blocks_are_short_so_that_memory_does_not_grow_with_the_file() -> None:
    with AudioReader(io.BytesIO(LONG_FLAC.read_bytes()), max_seconds=HOUR) as reader:
        lengths = [len(block) for block in reader.blocks()]
    assert set(lengths[:-1]) == {32000}
    assert 0 < lengths[-1] <= 32000


def test_a_sentence_split_over_blocks_is_resampled_without_a_seam() -> None:
    samples, _ = read(wav(tone(10, 44100), 44100))
    expected = np.sin(np.arange(160000) * 2 * np.pi * 440 / 16000) * 0.5
    assert float(np.abs(samples[500:-500] - expected[500:-500]).max()) < 1e-3


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 6, 7, 8, 12, 64])
def test_any_sane_number_of_channels_becomes_one(channels: int) -> None:
    samples, _ = read(wav(np.repeat(tone(0.5), channels), channels=channels))
    assert len(samples) == 8000
    assert float(np.abs(samples).max()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("channels", range(1, 10))
def test_what_one_channel_alone_hears_is_heard(channels: int) -> None:
    """Recorders of several microphones say nothing of where these stand."""
    for channel in range(channels):
        samples = np.zeros((8000, channels), "<i2")
        samples[:, channel] = tone(0.5)
        heard, _ = read(wav(samples.ravel(), channels=channels))
        assert float(np.abs(heard).max()) > 0.4 / channels, channel


LATE = [("webm", "libopus", 48000), ("matroska", "aac", 16000), ("ogg", "libopus", 48000)]


@pytest.mark.parametrize(("container", "codec", "rate"), LATE)
def test_timestamps_may_begin_anywhere(container: str, codec: str, rate: int) -> None:
    """As they do in a live stream that was joined after hours."""
    late = encoded(container, codec, 20, rate, clock=lambda at: at + 5 * 3600)
    samples, reader = read(late)
    assert len(samples) / SAMPLE_RATE == pytest.approx(20, abs=0.1)
    assert reader.duration == pytest.approx(20, abs=0.1)
    assert not reader.truncated


@pytest.mark.parametrize(("container", "codec", "rate"), LATE)
def test_silence_that_was_not_sent_is_heard_where_it_was(
    container: str, codec: str, rate: int
) -> None:
    """As calls in a browser are recorded while a microphone is muted: what follows keeps its time."""
    gap = encoded(container, codec, 20, rate, clock=lambda at: at + (7 if at > 5 else 0))
    samples, reader = read(gap)
    assert len(samples) / SAMPLE_RATE == pytest.approx(27, abs=0.1)
    loud = np.array([np.abs(part).max() for part in np.array_split(samples, 270)]) > 0.1
    assert loud[2:48].all()
    assert not loud[53:117].any()
    assert loud[123:267].all()
    assert not reader.truncated


@pytest.mark.parametrize("container", ["webm", "ogg", "mp4"])
def test_silence_of_any_length_is_heard_where_the_file_itself_is_as_long(container: str) -> None:
    codec, rate = ("aac", 16000) if container == "mp4" else ("libopus", 48000)
    muted = encoded(container, codec, 40, rate, clock=lambda at: at + (700 if at > 20 else 0))
    samples, reader = read(muted)
    assert len(samples) / SAMPLE_RATE == pytest.approx(740, abs=0.5)
    assert reader.duration == pytest.approx(740, abs=0.5)
    assert not reader.truncated


def test_a_clock_that_jumps_leaves_no_silence() -> None:
    ahead = encoded("mpegts", "mp2", 20, 48000, clock=lambda at: at + (3600 if at > 5 else 0))
    parts = [encoded("mpegts", "mp2", 10, 48000, clock=lambda at, to=to: at + to) for to in (9, 0)]
    for jumping in (ahead, b"".join(parts)):
        samples, _ = read(jumping, max_seconds=2 * HOUR)
        assert len(samples) / SAMPLE_RATE == pytest.approx(20, abs=0.2)


def filmed(container: str, codec: str, *, pictures: int, begin: float, seconds: float) -> bytes:
    """A film of so many seconds of black, in which a tone begins and lasts."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        video = output.add_stream("mpeg4", rate=10)
        video.width = video.height = 64
        audio = output.add_stream(codec, rate=48000, layout="mono")
        packets = []
        for number in range(10 * pictures):
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
            picture.pts = number
            packets += video.encode(picture)
        frame = av.AudioFrame.from_ndarray(tone(seconds, 48000)[None, :], "s16", "mono")
        frame.sample_rate, frame.pts = 48000, round(begin * 48000)
        packets += [*video.encode(None), *audio.encode(frame), *audio.encode(None)]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            output.mux(packet)
    return file.getvalue()


FILMS = [("mp4", "aac"), ("matroska", "aac"), ("mpegts", "mp2")]


@pytest.mark.parametrize("begin", [0.15, 3, 12])
@pytest.mark.parametrize(("container", "codec"), FILMS)
def test_sound_that_begins_after_its_picture_keeps_its_time(
    container: str, codec: str, begin: float
) -> None:
    """Also where it begins behind all that libav looks at beforehand."""
    samples, reader = read(filmed(container, codec, pictures=15, begin=begin, seconds=5))
    assert len(samples) / SAMPLE_RATE == pytest.approx(begin + 5, abs=0.1)
    first = int(np.argmax(np.abs(samples) > 0.1)) / SAMPLE_RATE
    assert first == pytest.approx(begin, abs=0.04)
    assert not reader.truncated


@pytest.mark.parametrize(("container", "codec"), FILMS)
def test_a_picture_may_last_longer_than_sound_may(container: str, codec: str) -> None:
    samples, reader = read(
        filmed(container, codec, pictures=60, begin=0, seconds=5), max_seconds=30
    )
    assert len(samples) / SAMPLE_RATE == pytest.approx(5, abs=0.1)
    assert not reader.truncated


@pytest.mark.parametrize(("container", "codec"), [("webm", "libopus"), ("matroska", "aac")])
def test_packets_that_are_lost_one_by_one_do_not_let_times_run_ahead(
    container: str, codec: str
) -> None:
    lossy = encoded(container, codec, 20, 48000, clock=lambda at: at + 0.06 * int(at))
    samples, _ = read(lossy)
    assert len(samples) / SAMPLE_RATE == pytest.approx(20 + 19 * 0.06, abs=0.25)


def test_frames_that_are_counted_at_another_rate_leave_no_gaps() -> None:
    """Raw AAC has no clock: libav counts its frames by the rate of the first ones."""
    parts = [encoded("adts", "aac", 10, rate, bit_rate=48_000) for rate in (16_000, 48_000)]
    samples, _ = read(b"".join(parts))
    assert len(samples) / SAMPLE_RATE == pytest.approx(20, abs=0.5)
    assert not np.any(
        np.abs(samples[int(11 * SAMPLE_RATE) :])
        .reshape(-1)[: 8 * SAMPLE_RATE]
        .reshape(-1, 1600)
        .max(1)
        < 0.1
    )


def test_packets_stamped_when_they_arrived_do_not_add_up_to_silence() -> None:
    """After each stall of the network several come at once."""

    def arrival(at: float) -> float:
        late = at % 2
        return at if late >= 0.5 else at - late + 0.48 + 0.04 * late

    samples, _ = read(encoded("matroska", "aac", 20, 48000, clock=arrival))
    assert len(samples) / SAMPLE_RATE == pytest.approx(20.25, abs=0.35)


def test_a_track_that_appears_on_the_way_does_not_spoil_what_was_decoded() -> None:
    """PyAV asks for its packets too, at the end, though nobody knew of it."""
    with AudioReader(io.BytesIO(wav(tone(3))), max_seconds=HOUR) as reader:
        container, packets = reader._container, reader._container.demux(reader._stream)

        def demux(_: object) -> Iterator[object]:
            yield from packets
            raise IndexError("list index out of range")

        reader._container = SimpleNamespace(demux=demux, close=container.close)  # type: ignore[assignment]
        samples = np.concatenate(list(reader.blocks()))
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.01)
    assert not reader.truncated


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [
        ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
        ("ogg", "flac", {}),
        ("flac", "flac", {}),
    ],
)
def test_a_piece_of_a_live_stream_is_as_long_as_it_is(
    container: str, codec: str, options: dict[str, str]
) -> None:
    piece = encoded(container, codec, 6, 16000, clock=lambda at: at + 5 * HOUR, **options)
    samples, reader = read(piece, max_seconds=4 * HOUR)
    assert len(samples) / SAMPLE_RATE == pytest.approx(6, abs=0.2)
    assert reader.duration is None or reader.duration == pytest.approx(6, abs=0.2)
    assert not reader.truncated


def test_a_film_that_begins_late_by_its_edit_list_is_no_piece() -> None:
    late = encoded("mp4", "aac", 40, clock=lambda at: at + 5, moov_size="20000")
    samples, reader = read(late)
    assert len(samples) / SAMPLE_RATE == pytest.approx(40, abs=0.3)
    assert reader.duration == pytest.approx(40, abs=0.3)
    assert not reader.truncated
    assert read(late[: len(late) // 2])[1].truncated


def test_the_first_track_that_can_be_decoded_is_heard() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        streams = [output.add_stream(codec, rate=16000, layout="mono") for codec in ("tta", "aac")]
        for stream in streams:
            frame = av.AudioFrame.from_ndarray(tone(3)[None, :], "s16", "mono")
            frame.sample_rate = 16000
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                output.mux(packet)
    assert len(read(file.getvalue())[0]) / SAMPLE_RATE == pytest.approx(3, abs=0.2)


def test_two_channels_that_cancel_each_other_out_are_heard_as_one() -> None:
    """As a balanced microphone on a stereo jack gives."""
    sound = tone(3)
    samples, _ = read(wav(np.stack([sound, -sound], axis=1).ravel(), channels=2))
    assert float(np.abs(samples - sound / 32768).max()) <= 2 / 32768


@pytest.mark.parametrize(
    ("container", "codec"), [("adts", "aac"), ("flac", "flac"), ("mp3", "mp3")]
)
def test_a_cover_of_megabytes_may_stand_before_the_sound(container: str, codec: str) -> None:
    size = 3_000_000
    digits = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    cover = b"ID3\x03\0\0" + digits + bytes(size)
    plain = encoded(container, codec, 3, 44100)
    samples, _ = read(cover + plain)
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.15)


def test_aiff_that_was_written_into_a_pipe_is_whole() -> None:
    """SoX cannot go back, and leaves sizes that no file can have."""
    whole = encoded("aiff", "pcm_s16be", 3, 44100)
    frames, data = whole.index(b"COMM") + 10, whole.index(b"SSND") + 4
    piped = bytearray(whole)
    piped[frames : frames + 4] = (0x3F800000).to_bytes(4, "big")
    piped[data : data + 4] = (0x7F000008).to_bytes(4, "big")
    samples, reader = read(bytes(piped))
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.01)
    assert (reader.duration, reader.truncated) == (None, False)


def test_what_is_not_a_number_or_too_loud_becomes_harmless() -> None:
    hostile = np.zeros(16000, "<f4")
    hostile[4000:8000], hostile[9000], hostile[10000:12000] = np.nan, np.inf, 1e30
    samples, _ = read(wav(hostile))
    assert np.isfinite(samples).all()
    assert float(np.abs(samples).max()) == 1.0


NOT_MEDIA = {
    "text": b"Dear sir or madam,\n" * 100,
    "an ffconcat script": b"ffconcat version 1.0\nfile three.wav\n",
    "an m3u8 playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1/a.ts\n",
    "an sdp session": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=audio 5000 RTP/AVP 0\n",
    "subtitles": b"1\n00:00:01,000 --> 00:00:02,000\nHello\n\n" * 5,
    "a png image": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 8,
    "a jpeg image": b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + bytes(range(256)) * 8,
    "a webp image": b"RIFF\x24\0\0\0WEBPVP8 " + bytes(range(256)),
    "a pdf": b"%PDF-1.7\n" + bytes(range(256)) * 8,
    "html": b"<!doctype html><html><body>no</body></html>",
    "zeros": bytes(100_000),
}


@pytest.mark.parametrize("content", NOT_MEDIA.values(), ids=NOT_MEDIA.keys())
def test_what_is_not_media_is_refused_as_unsupported(content: bytes) -> None:
    with pytest.raises(UnsupportedMedia) as caught:
        read(content)
    assert (caught.value.code, caught.value.param) == ("unsupported_media_type", "file")


def test_an_archive_with_audio_in_it_is_refused_as_unsupported() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.write(DATA / "formats" / "three.mp3")
    with pytest.raises(UnsupportedMedia):
        read(file.getvalue())


def test_a_concat_script_does_not_open_a_local_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DATA / "formats")
    with pytest.raises(UnsupportedMedia):
        read(b"ffconcat version 1.0\nfile three.wav\n")


M4A = (DATA / "formats" / "three.m4a").read_bytes()
DAMAGED = {
    "nothing": b"",
    "a wav that is only a header": wav(np.empty(0, "<i2")),
    "a wav at 1 Hz": wav(tone(0.5), rate=1),
    "a wav at 1 MHz": wav(tone(0.5), rate=1_000_000),
    "a wav with 255 channels": wav(tone(1), channels=255),
    "an m4a without its index": M4A[: len(M4A) // 2],
    "four letters of flac": b"fLaC",
    "an ogg page of nothing": b"OggS" + bytes(300),
    "an empty matroska": b"\x1aE\xdf\xa3" + bytes(100),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_media_without_audio_that_can_be_read_is_refused_as_invalid(content: bytes) -> None:
    with pytest.raises(InvalidAudio) as caught:
        read(content)
    assert (caught.value.code, caught.value.param) == ("invalid_audio", "file")


def test_a_video_without_sound_is_refused_as_invalid() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
        for packet in [*stream.encode(picture), *stream.encode(None)]:
            output.mux(packet)
    with pytest.raises(InvalidAudio, match="no audio track"):
        read(file.getvalue())


def test_less_than_a_tenth_of_a_second_is_too_short() -> None:
    with pytest.raises(AudioTooShort):
        read(wav(tone(0.09)))
    assert len(read(wav(tone(0.1)))[0]) == 1600


def test_a_header_that_promises_too_much_is_refused_before_anything_is_decoded() -> None:
    with pytest.raises(AudioTooLong, match="longer than 5 seconds"):
        AudioReader(io.BytesIO(wav(tone(5.5))), max_seconds=5)


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [
        ("adts", "aac", 16000),
        ("amr", "libopencore_amrnb", 8000),
        ("mp3", "mp3", 16000),
        ("mp2", "mp2", 44100),
        ("ac3", "ac3", 48000),
        ("mpegts", "aac", 48000),
    ],
)
def test_where_no_header_is_certain_the_packets_are_counted_before_anything_is_decoded(
    container: str, codec: str, rate: int
) -> None:
    content = encoded(container, codec, 20.0, rate, bit_rate=12_200 if rate == 8000 else 64_000)
    with pytest.raises(AudioTooLong, match=r"longer than 18\.5 seconds"):
        AudioReader(io.BytesIO(content), max_seconds=18.5)
    assert len(read(content, max_seconds=20.2)[0]) / SAMPLE_RATE == pytest.approx(20, abs=0.15)


def test_a_duration_that_is_guessed_much_too_long_refuses_nothing() -> None:
    """As libav's is where a file without a count of its frames begins with a low bit rate."""
    joined = [encoded("mp2", "mp2", 2.0, 44100, bit_rate=32_000)]
    joined += [encoded("mp2", "mp2", 10.0, 44100, bit_rate=384_000)]
    samples, reader = read(b"".join(joined), max_seconds=15)
    assert reader.duration is None, "its packets hold less than it says"
    assert len(samples) / SAMPLE_RATE == pytest.approx(12, abs=0.1)


def test_audio_that_turns_out_too_long_is_refused_while_it_is_decoded() -> None:
    """As in a chain of Ogg files, of which libav tells the duration of one."""
    content = encoded("ogg", "libopus", 4.0, 48000) * 2
    with AudioReader(io.BytesIO(content), max_seconds=5) as reader:
        blocks = reader.blocks()
        assert [len(next(blocks)), len(next(blocks))] == [32000, 32000]
        with pytest.raises(AudioTooLong):
            next(blocks)


@pytest.mark.parametrize("claimed", [0, 0xFFFFFFFF, 0x7FFFF000, 0x80000000])
def test_a_stream_whose_header_does_not_know_its_end_is_read_to_its_end(claimed: int) -> None:
    samples, reader = read(wav(tone(3), claimed=claimed))
    assert len(samples) == 48000
    assert not reader.truncated


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [
        ("asf", "wmav2", 44100),
        ("au", "pcm_mulaw", 8000),
        ("caf", "pcm_s16le", 16000),
        ("flac", "flac", 16000),
        ("matroska", "aac", 16000),
        ("mp3", "mp3", 16000),
        ("ogg", "libopus", 48000),
        ("wav", "adpcm_ms", 22050),
        ("wav", "pcm_s16le", 16000),
        ("webm", "libopus", 48000),
    ],
)
def test_a_file_that_was_written_into_a_pipe_is_whole(
    container: str, codec: str, rate: int
) -> None:
    samples, reader = read(encoded(container, codec, 20.0, rate, is_piped=True))
    assert len(samples) / SAMPLE_RATE == pytest.approx(20, abs=0.15)
    assert not reader.truncated


HALVES = [
    ("aiff", "pcm_s16be", 16000),
    ("asf", "wmav2", 44100),
    ("au", "pcm_mulaw", 8000),
    ("avi", "mp3", 44100),
    ("avi", "pcm_s16le", 16000),
    ("caf", "pcm_s16le", 16000),
    ("flac", "flac", 16000),
    ("matroska", "aac", 16000),
    ("mp3", "mp3", 16000),
    ("ogg", "flac", 16000),
    ("ogg", "libopus", 48000),
    ("w64", "pcm_s16le", 16000),
    ("wav", "adpcm_ms", 22050),
    ("wav", "pcm_s16le", 16000),
    ("webm", "libopus", 48000),
]


@pytest.mark.parametrize(("container", "codec", "rate"), HALVES)
def test_a_file_cut_in_two_gives_its_first_half_and_says_so(
    container: str, codec: str, rate: int
) -> None:
    whole = encoded(container, codec, 80.0, rate)
    assert not read(whole)[1].truncated
    samples, reader = read(whole[: len(whole) // 2])
    assert reader.truncated
    assert len(samples) / SAMPLE_RATE == pytest.approx(40, abs=3)  # AVI's index is at its end


@pytest.mark.parametrize(
    "options",
    [
        {"movflags": "frag_keyframe+empty_moov", "frag_duration": "1000000"},
        {"moov_size": "20000"},
        {"rf64": "always"},
    ],
    ids=lambda options: " ".join(options.values()),
)
def test_so_does_one_of_a_rarer_kind(options: dict[str, str]) -> None:
    kind = ("wav", "pcm_s16le") if "rf64" in options else ("mp4", "aac")
    whole = encoded(*kind, 20.0, 16000, **options)
    assert not read(whole)[1].truncated
    samples, reader = read(whole[: len(whole) // 2])
    assert reader.truncated
    assert len(samples) / SAMPLE_RATE == pytest.approx(10, abs=2)


WITHOUT_INDEX = {".m4a", ".mov", ".mp4"}
UNKNOWING = {".aac"}


@pytest.mark.parametrize("path", FORMATS, ids=lambda path: path.name)
def test_half_of_every_shipped_format_says_so_or_cannot_know(path: Path) -> None:
    content = path.read_bytes()
    half = content[: len(content) // 2]
    if path.suffix in WITHOUT_INDEX:
        with pytest.raises(InvalidAudio):
            read(half)
    else:
        assert read(half)[1].truncated == (path.suffix not in UNKNOWING)


class _Failing(io.BytesIO):
    """A file of which no more can be read beyond a point, like a bad disk."""

    def __init__(self, content: bytes, good: int) -> None:
        super().__init__(content)
        self.good = good

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > self.good:
            raise OSError("bad sector")
        return super().read(size)


def _blocks(file: io.BytesIO) -> tuple[Iterator[np.ndarray], AudioReader]:
    reader = AudioReader(file, max_seconds=HOUR)
    return reader.blocks(), reader


def test_an_error_after_the_first_window_keeps_what_was_heard() -> None:
    content = wav(tone(120))
    blocks, reader = _blocks(_Failing(content, 60 * 32000))
    heard = sum(map(len, blocks)) / SAMPLE_RATE
    assert reader.truncated
    assert 55 < heard < 65


def test_an_error_in_the_first_window_refuses_the_file() -> None:
    blocks, _ = _blocks(_Failing(wav(tone(120)), 20 * 32000))
    with pytest.raises(InvalidAudio, match="breaks off"):
        list(blocks)


def test_damaged_packets_are_skipped() -> None:
    content = bytearray((DATA / "formats" / "three.mp3").read_bytes())
    content[8000:9000] = b"\xff" * 1000
    samples, _ = read(bytes(content))
    assert len(samples) / SAMPLE_RATE == pytest.approx(6.8, abs=0.5)


def test_joined_files_of_different_rates_are_read_on() -> None:
    first, second = (encoded("mp3", "mp3", 2.0, rate) for rate in (16000, 22050))
    samples, _ = read(first + second)
    assert len(samples) / SAMPLE_RATE == pytest.approx(4.0, abs=0.3)


@pytest.mark.parametrize("second", ["libopus", "flac"])
def test_joined_oggs_are_read_on_whatever_they_are(second: str) -> None:
    """libav ends with an error where the next one has other channels or another codec."""
    parts = [
        encoded("ogg", "libopus", 40.0, 48_000),
        encoded("ogg", second, 3.0, 48_000, layout="stereo"),
        encoded("ogg", "libopus", 2.0, 48_000),
    ]
    for joined, seconds in ((b"".join(parts), 45.0), (b"".join(parts[1:]), 5.0)):
        samples, reader = read(joined)
        assert len(samples) / SAMPLE_RATE == pytest.approx(seconds, abs=0.1)
        assert np.abs(samples[-SAMPLE_RATE:]).max() > 0.3
        assert not reader.truncated


def test_what_is_left_of_thousands_of_joined_files_is_read_from_the_file_itself() -> None:
    """A dump of a radio station has a file for each song."""
    rest: BinaryIO = io.BytesIO(bytes(3000) + b"the last one")
    for _ in range(3000):
        rest = rest_of(rest, 1)
    assert (rest.read(3), rest.tell()) == (b"the", 3)
    assert (rest.seek(-3, os.SEEK_END), rest.read()) == (9, b"one")
    assert (rest.seek(4), rest.seek(5, os.SEEK_CUR), rest.read()) == (4, 9, b"one")


def test_an_ogg_behind_which_one_without_sound_comes_is_heard() -> None:
    samples, _ = read(encoded("ogg", "libopus", 2.0, 48_000) + b"OggS\0\2" + bytes(400))
    assert len(samples) / SAMPLE_RATE == pytest.approx(2.0, abs=0.1)


def test_joined_transport_streams_are_read_on_whatever_their_tracks_numbers() -> None:
    parts = [encoded("mpegts", "aac", 3.0, 16_000, mpegts_start_pid=str(pid)) for pid in (256, 300)]
    samples, _ = read(b"".join(parts))
    assert len(samples) / SAMPLE_RATE == pytest.approx(6.0, abs=0.3)


@pytest.mark.parametrize("container", ["amr", "3gp"])
def test_pauses_in_which_a_telephone_sends_nothing_keep_their_time(container: str) -> None:
    rate = 8000
    quiet = np.random.default_rng(1).integers(-3, 4, 8 * rate).astype(np.int16)
    sound = np.concatenate([tone(2.0, rate), quiet, tone(2.0, rate), quiet])
    content = encoded(
        *(container, "libopencore_amrnb", 20.0, rate),
        bit_rate=12_200,
        coding={"dtx": "1"},
        sound=sound,
    )
    samples, reader = read(content)
    assert len(samples) / SAMPLE_RATE == pytest.approx(20.0, abs=0.1)
    assert np.abs(samples[round(10.3 * SAMPLE_RATE) : round(11.7 * SAMPLE_RATE)]).max() > 0.1
    assert np.abs(samples[round(9.0 * SAMPLE_RATE) : round(9.8 * SAMPLE_RATE)]).max() < 0.1
    assert not reader.truncated


@pytest.mark.parametrize("stray", [b"\r\n", bytes(7)])
def test_stray_bytes_behind_a_short_file_refuse_nothing(stray: bytes) -> None:
    samples, _ = read(encoded("adts", "aac", 3.0, 44_100) + stray)
    assert len(samples) / SAMPLE_RATE == pytest.approx(3.0, abs=0.15)


@pytest.mark.parametrize("cover", [100, 3_000_000])
def test_tags_may_stand_before_any_sound(cover: int) -> None:
    size = bytes(cover >> shift & 0x7F for shift in (21, 14, 7, 0))
    tag = b"ID3\x03\0\0" + size + bytes(cover)
    for content in (wav(tone(3.0)), encoded("ogg", "libopus", 3.0, 48_000)):
        samples, _ = read(tag + content)
        assert len(samples) / SAMPLE_RATE == pytest.approx(3.0, abs=0.1)


def test_a_long_recording_that_says_nothing_of_its_duration_is_refused_at_once() -> None:
    content = encoded("webm", "libopus", 40.0, 48_000, is_piped=True)
    with pytest.raises(AudioTooLong):
        AudioReader(io.BytesIO(content), max_seconds=20.0)


def test_the_file_stays_its_owners() -> None:
    with (DATA / "formats" / "three.wav").open("rb") as file:
        file.seek(1000)
        with AudioReader(file, max_seconds=HOUR) as reader:
            assert sum(map(len, reader.blocks())) == 109871
        assert not file.closed
