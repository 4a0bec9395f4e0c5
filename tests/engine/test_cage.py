"""Decoding in a cage gives the same samples, and a file that kills its decoder kills nothing else."""

import errno
import io
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import av
import numpy as np
import pytest
from decoders import child_of, is_waited_for
from house import DATA, ROOT
from hypothesis import example, given, settings
from hypothesis import strategies as st
from processes import PATIENCE, children, until, wait_for_end
from worker.audio import AudioReader, Cage, CagedAudio
from worker.audio.caged import MESSAGE_BYTES
from worker.audio.zygote import Zygote
from worker.errors import (
    AudioTooLong,
    AudioTooShort,
    InvalidAudio,
    InvalidRequest,
    Overloaded,
    ServiceError,
    UnsupportedMedia,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the cage is Linux's")

FORMATS = sorted((DATA / "formats").iterdir())
LONG = DATA / "long" / "en-10min.mp3"


@pytest.fixture(scope="module")
def cage() -> Iterator[Cage]:
    with Cage() as cage:
        yield cage


@pytest.fixture
def empty_cage() -> Iterator[Cage]:
    """One in which no child of another test can still be about to end."""
    with Cage() as cage:
        yield cage


def samples_in(cage: Cage, path: Path) -> np.ndarray:
    with path.open("rb") as file, cage.open(file, max_seconds=3600) as audio:
        return np.concatenate(list(audio.blocks()))


def refusal(cage: Cage, content: bytes, max_seconds: float = 3600) -> ServiceError:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        try:
            with cage.open(file, max_seconds=max_seconds) as audio:
                list(audio.blocks())
        except ServiceError as error:
            return error
    pytest.fail("the file was not refused")


def begun(cage: Cage) -> tuple[CagedAudio, int]:
    """A long file whose child waits for us in the middle of it, and that child's process id."""
    with LONG.open("rb") as file:
        audio = cage.open(file, max_seconds=3600)
    assert isinstance(audio, CagedAudio)
    return audio, child_of(cage)


@pytest.mark.parametrize("path", FORMATS, ids=lambda path: path.name)
def test_samples_are_those_of_the_reader_itself(cage: Cage, path: Path) -> None:
    with path.open("rb") as file:
        reader = AudioReader(file, max_seconds=3600)
        expected = np.concatenate(list(reader.blocks()))
        with cage.open(file, max_seconds=3600) as audio:
            found = np.concatenate(list(audio.blocks()))
    assert np.array_equal(found, expected)
    assert found.dtype == np.float32
    assert (audio.duration, audio.seconds, audio.truncated) == (
        reader.duration,
        reader.seconds,
        False,
    )


@pytest.mark.parametrize(
    ("container", "codec", "subtitle"),
    [("matroska", "libopus", "subrip"), ("matroska", "libopus", "ass"), ("mp4", "aac", "mov_text")],
)
def test_a_video_may_have_subtitles(
    cage: Cage, tmp_path: Path, container: str, codec: str, subtitle: str
) -> None:
    """libav's wrapper imports a module when it meets them, which a confined process cannot open any more."""
    with av.open(tmp_path / "video", "w", format=container) as output:
        sound, text = (
            output.add_stream(codec, rate=48000, layout="mono"),
            output.add_stream(subtitle),
        )
        text.codec_context.subtitle_header = b"[Script Info]\r\n"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 96000), "<i2"), "s16", "mono")
        frame.sample_rate, frame.pts = 48000, 0
        for packet in [*sound.encode(frame), *sound.encode(None)]:
            output.mux(packet)
        packet = av.Packet(b"\0\5Hello" if subtitle == "mov_text" else b"Hello")
        packet.stream, packet.pts, packet.dts, packet.duration = text, 0, 0, 500
        output.mux(packet)
    assert len(samples_in(cage, tmp_path / "video")) / 16000 == pytest.approx(2, abs=0.1)


def test_refusals_come_through_as_they_are(cage: Cage) -> None:
    wav = (DATA / "formats" / "three.wav").read_bytes()
    text = refusal(cage, b"ffconcat version 1.0\nfile three.wav\n")
    assert (type(text), text.param) == (UnsupportedMedia, "file")
    assert str(text) == "The file is not audio or video in a format that is taken"
    assert type(refusal(cage, b"")) is InvalidAudio
    assert type(refusal(cage, b"fLaC")) is InvalidAudio
    assert type(refusal(cage, wav[:1000])) is AudioTooShort
    assert type(refusal(cage, wav, max_seconds=3)) is AudioTooLong
    assert type(refusal(cage, (DATA / "formats" / "three.aac").read_bytes(), 6.9)) is AudioTooLong


def test_a_file_cut_in_two_is_told_to_be_truncated(cage: Cage) -> None:
    content = (DATA / "long" / "en-90s.flac").read_bytes()
    with tempfile.TemporaryFile() as file:
        file.write(content[: len(content) // 2])
        with cage.open(file, max_seconds=3600) as audio:
            assert 30 < sum(map(len, audio.blocks())) / 16000 < 60
        assert audio.truncated


def test_a_decoder_that_dies_makes_its_own_file_invalid_and_no_other(empty_cage: Cage) -> None:
    audio, child = begun(empty_cage)
    blocks = audio.blocks()
    next(blocks)
    os.kill(child, signal.SIGKILL)
    with pytest.raises(InvalidAudio, match="decoding it failed"):
        list(blocks)
    audio.close()
    assert len(samples_in(empty_cage, FORMATS[0])) == 109871


def test_a_log_that_cannot_be_written_ends_no_other_files_decoder() -> None:
    stderr = os.dup(2)
    try:
        with Path("/dev/full").open("wb") as full:
            os.dup2(full.fileno(), 2)
        cage = Cage()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
    with cage:
        zygote = cage.pid
        other, kept = begun(cage)
        with LONG.open("rb") as file:
            one = cage.open(file, max_seconds=3600)
        [child] = {*children(cage.pid)} - {kept}
        os.kill(child, signal.SIGKILL)
        with pytest.raises(InvalidAudio, match="decoding it failed"):
            list(one.blocks())
        one.close()
        assert sum(map(len, other.blocks())) / 16000 == pytest.approx(602.5, abs=0.1)
        other.close()
        assert cage.pid == zygote


def test_as_many_open_files_as_there_may_be_are_no_fault_of_a_file(
    cage: Cage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socketpair", none_left)
    with pytest.raises(Overloaded):
        samples_in(cage, FORMATS[0])


def test_a_decoder_that_wants_too_much_memory_makes_its_file_invalid() -> None:
    # Less than it has already; and a block of so many channels fits into no gap in what it has.
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((16, 2, 192_000, 0, "NONE", ""))
        writer.writeframes(bytes(3 * 16 * 2 * 192_000))
    with Cage(memory_bytes=64 * 1024**2) as cage:
        error = refusal(cage, file.getvalue())
    assert (type(error), error.code) == (InvalidAudio, "invalid_audio")


def test_a_decoder_that_dies_while_its_reader_is_slow_is_told_too(empty_cage: Cage) -> None:
    audio, child = begun(empty_cage)
    process = os.pidfd_open(child)
    os.kill(child, signal.SIGKILL)
    wait_for_end(process)
    with pytest.raises(InvalidAudio, match="decoding it failed"):
        list(audio.blocks())
    audio.close()


def test_the_loss_of_the_whole_cage_in_mid_file_is_not_blamed_on_the_file(empty_cage: Cage) -> None:
    audio, child = begun(empty_cage)
    processes = [os.pidfd_open(pid) for pid in (empty_cage.pid, child)]
    os.kill(empty_cage.pid, signal.SIGKILL)
    for process in processes:
        wait_for_end(process)
    with pytest.raises(ServiceError, match="lost") as caught:
        list(audio.blocks())
    assert caught.value.status == 503
    audio.close()
    assert len(samples_in(empty_cage, FORMATS[0])) == 109871


HEADER, END = b'H{"duration": null}', b'E{"truncated": false}'
BLOCK = b"B" + np.zeros(32_000, np.float32).tobytes()
SHORT_BLOCK = b"B" + bytes(4)


def sent_by_a_decoder(cage: Cage, *messages: bytes) -> list[np.ndarray]:
    """What becomes of these messages where four seconds of audio are taken."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MESSAGE_BYTES)
    with theirs, CagedAudio(ours, cage._process, 4.0, PATIENCE) as audio:
        for message in (b"T", *messages):
            theirs.send(message)
        audio.begin(PATIENCE)
        return list(audio.blocks())


def test_what_a_decoder_sends_is_taken_up_to_the_longest_audio(cage: Cage) -> None:
    assert len(sent_by_a_decoder(cage, HEADER, BLOCK, BLOCK, END)) == 2
    assert len(sent_by_a_decoder(cage, HEADER, BLOCK, SHORT_BLOCK, END)) == 2
    with pytest.raises(InvalidAudio, match="sent more than it may"):
        sent_by_a_decoder(cage, HEADER, BLOCK, BLOCK, SHORT_BLOCK, END)


@pytest.mark.parametrize(
    "messages",
    [
        [b"?"],
        [END],
        [b"H"],
        [b"H\xff"],
        [b"H{}"],
        [b"H[]"],
        [b"H" + b"[" * 100_000],
        [b'H{"duration": "long"}'],
        [b'H{"duration": NaN}'],
        [b'H{"duration": 1' + b"0" * 400 + b"}"],
        [HEADER, HEADER],
        [HEADER, b"?"],
        [HEADER, b"Babc"],
        [HEADER, b"B"],
        [HEADER, SHORT_BLOCK, SHORT_BLOCK],
        [HEADER, b"B" + np.float32(np.nan).tobytes()],
        [HEADER, b"B" + np.float32(-1e30).tobytes()],
        [HEADER, b"E"],
        [HEADER, b"E{}"],
        [HEADER, b"X"],
        [HEADER, b'X{"error": "InvalidAudio"}'],
        [HEADER, b'X{"error": "SystemExit", "message": "", "param": null}'],
        [HEADER, b'X{"error": [], "message": "", "param": null}'],
        [HEADER, b'X{"error": "InvalidAudio", "message": 1, "param": null}'],
        [HEADER, b'X{"error": "InvalidAudio", "message": "", "param": []}'],
        [HEADER, b'X{"error": "InvalidAudio", "message": "\\ud800", "param": null}'],
    ],
    ids=lambda messages: repr(messages[-1][:60]),
)
def test_a_decoder_that_sends_nonsense_makes_its_own_file_invalid(
    cage: Cage, messages: list[bytes]
) -> None:
    with pytest.raises(InvalidAudio, match="decoding it failed") as caught:
        sent_by_a_decoder(cage, *messages, END)
    assert (type(caught.value), caught.value.param) == (InvalidAudio, "file")


def test_a_file_for_which_no_process_can_be_had_is_told_to_come_again(
    cage: Cage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork() -> int:
        raise BlockingIOError("as many processes as there may be")

    monkeypatch.setattr(os, "fork", fork)
    control, parent = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with control, parent, CagedAudio(ours, cage._process, 9, PATIENCE) as audio:
        with theirs, FORMATS[0].open("rb") as file:
            socket.send_fds(parent, [b"{}"], [file.fileno(), theirs.fileno()])
        assert Zygote(control)._take_job(), "the next file may find room"
        with pytest.raises(Overloaded, match="There is no room for another decoder"):
            audio.begin(PATIENCE)
        assert ours.recv(1) == b"", "the channel is not left open"


def test_where_no_other_process_that_forks_can_be_started_a_file_is_told_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    popen = subprocess.Popen

    def refused(*given: Any, **options: Any) -> None:
        raise BlockingIOError("as many processes as there may be")

    with Cage() as cage, FORMATS[0].open("rb") as file:
        cage._process.kill()
        cage._process.wait()
        monkeypatch.setattr(subprocess, "Popen", refused)
        with pytest.raises(Overloaded, match="There is no room for another decoder"):
            cage.open(file, max_seconds=60)
        monkeypatch.setattr(subprocess, "Popen", popen)
        with cage.open(file, max_seconds=60) as audio:
            assert sum(map(len, audio.blocks()))


def test_closing_early_ends_the_decoder(empty_cage: Cage) -> None:
    audio, child = begun(empty_cage)
    next(audio.blocks())
    process = os.pidfd_open(child)
    audio.close()
    wait_for_end(process)


def test_closing_from_another_thread_ends_the_blocks(empty_cage: Cage) -> None:
    audio, child = begun(empty_cage)
    blocks = audio.blocks()
    next(blocks)
    os.kill(child, signal.SIGSTOP)
    with ThreadPoolExecutor() as threads:
        rest = threads.submit(lambda: sum(1 for _ in blocks))
        until(lambda: is_waited_for(audio))
        audio.close()
        assert rest.result() < 20


def test_a_decoder_that_falls_silent_is_killed_and_its_file_invalid(empty_cage: Cage) -> None:
    audio, child = begun(empty_cage)
    blocks = audio.blocks()
    next(blocks)
    process = os.pidfd_open(child)
    os.kill(child, signal.SIGSTOP)
    audio.silence_seconds = 0.01
    with pytest.raises(InvalidAudio, match="decoding it failed"):
        list(blocks)
    wait_for_end(process)
    assert len(samples_in(empty_cage, FORMATS[0])) == 109871


def test_how_long_a_decoder_may_be_silent_is_chosen_for_the_cage() -> None:
    started: list[CagedAudio] = []

    def stop(audio: CagedAudio) -> None:
        started.append(audio)
        until(lambda: bool(children(cage.pid)))
        os.kill(child_of(cage), signal.SIGSTOP)

    with (
        Cage(silence_seconds=0.01) as cage,
        LONG.open("rb") as file,
        pytest.raises(InvalidAudio, match="decoding it failed"),
        cage.open(file, max_seconds=3600, started=stop) as audio,
    ):
        list(audio.blocks())
    assert [audio.silence_seconds for audio in started] == [0.01]


def test_closing_from_another_thread_ends_the_wait_for_the_first_word(empty_cage: Cage) -> None:
    started = SimpleQueue[CagedAudio]()
    os.kill(empty_cage.pid, signal.SIGSTOP)
    with ThreadPoolExecutor() as threads, FORMATS[0].open("rb") as file:
        opening = threads.submit(empty_cage.open, file, max_seconds=9, started=started.put)
        started.get().close()
        assert str(opening.exception()) == "The file was closed while it was opened"
    os.kill(empty_cage.pid, signal.SIGCONT)
    assert len(samples_in(empty_cage, FORMATS[0])) == 109871


def test_the_decoder_is_never_far_ahead_of_its_reader(cage: Cage) -> None:
    with LONG.open("rb") as file, cage.open(file, max_seconds=3600) as audio:
        for _, _ in zip(range(10), audio.blocks(), strict=False):
            # Parent and child share the position in the file: 3 kB are one second.
            assert os.lseek(file.fileno(), 0, os.SEEK_CUR) < audio.seconds * 3000 + 150_000


def test_only_a_death_that_nobody_wished_for_is_in_the_log(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with Cage() as cage:
        audio, child = begun(cage)
        process = os.pidfd_open(child)
        audio.close()
        wait_for_end(process)
    with Cage() as cage:
        audio, child = begun(cage)
        os.kill(child, signal.SIGSEGV)
        with audio, pytest.raises(InvalidAudio):
            list(audio.blocks())
    assert capfd.readouterr().err.splitlines() == ["a decoder died of its file: SIGSEGV"]


def test_files_are_decoded_side_by_side(cage: Cage) -> None:
    expected = {path: len(samples_in(cage, path)) for path in FORMATS}
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda path: len(samples_in(cage, path)), FORMATS * 2)
        assert list(found) == list(expected.values()) * 2


def test_a_lost_decoder_process_is_replaced() -> None:
    with Cage() as cage:
        assert len(samples_in(cage, FORMATS[0])) == 109871
        first = cage.pid
        process = os.pidfd_open(first)
        os.kill(first, signal.SIGKILL)
        wait_for_end(process)
        assert len(samples_in(cage, FORMATS[0])) == 109871
        assert cage.pid != first


@pytest.mark.parametrize("jobs_before", ["none", "as many as there is room for"])
def test_a_decoder_process_that_hangs_is_replaced_and_the_file_served(jobs_before: str) -> None:
    with Cage(answer_seconds=0.01) as cage, FORMATS[0].open("rb") as file:
        first = cage.pid
        os.kill(first, signal.SIGSTOP)
        if jobs_before != "none":
            with suppress(TimeoutError):
                while True:
                    socket.send_fds(cage._control, [b"{}"], [file.fileno()] * 2)

        def started(_: CagedAudio) -> None:
            if cage.pid != first:
                cage._answer_seconds = PATIENCE

        with cage.open(file, max_seconds=9, started=started) as audio:
            assert sum(map(len, audio.blocks())) == 109871
        assert cage.pid != first


def test_a_decoder_process_that_hangs_again_is_not_blamed_on_the_file() -> None:
    with Cage(answer_seconds=0.01) as cage, FORMATS[0].open("rb") as file:
        os.kill(cage.pid, signal.SIGSTOP)
        start = cage._start

        def start_and_stop() -> None:
            start()
            os.kill(cage.pid, signal.SIGSTOP)

        cage._start = start_and_stop  # type: ignore[method-assign]
        with pytest.raises(ServiceError, match="lost; try again") as caught:
            cage.open(file, max_seconds=9)
    assert (caught.value.status, caught.value.retryable) == (503, None)


def test_nothing_is_left_open(cage: Cage) -> None:
    samples_in(cage, FORMATS[0])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        samples_in(cage, FORMATS[0])
        refusal(cage, b"not audio")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_closed_cage_takes_no_file() -> None:
    with Cage() as cage:
        process = os.pidfd_open(cage.pid)
    wait_for_end(process)
    with FORMATS[0].open("rb") as file, pytest.raises(ServiceError, match="closed"):
        cage.open(file, max_seconds=9)


def test_when_memory_runs_out_decoders_go_before_the_worker(empty_cage: Cage) -> None:
    audio, child = begun(empty_cage)
    with audio:
        for pid in (empty_cage.pid, child):
            assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"


def test_the_cage_knows_no_secret_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_TOKEN", "hush")
    with Cage() as cage:
        samples_in(cage, FORMATS[0])
        assert b"WORKER_TOKEN" not in Path(f"/proc/{cage.pid}/environ").read_bytes()


def run(code: str) -> str:
    """Run Python in a process of its own, as the worker's package `app`."""
    start = f"import sys; sys.path.insert(0, {str(ROOT / 'whisper-service')!r})\n"
    return subprocess.run(
        [sys.executable, "-c", start + code],
        capture_output=True,
        text=True,
        check=True,
        # As in the cage: only a process without numpy's threads may have a user namespace of its own.
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    ).stdout


def test_no_process_survives_a_worker_that_is_killed() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from app.audio import Cage\n"
        "cage = Cage()\n"
        "audio = cage.open(open(sys.argv[2], 'rb'), max_seconds=3600)\n"
        "print(cage.pid, flush=True); sys.stdin.read()"
    )
    arguments = [sys.executable, "-c", code, str(ROOT / "whisper-service"), str(LONG)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        zygote = int(worker.stdout.readline())
        processes = [os.pidfd_open(pid) for pid in (zygote, *children(zygote))]
        worker.kill()
    assert len(processes) == 2
    for process in processes:
        wait_for_end(process)


TRIES = """
import ctypes, fcntl, os, resource, socket
from app.audio.confinement import limit_resources, refuse_system_calls
kept = open("/dev/null", "rb")
limit_resources(memory_bytes=2**30, cpu_seconds=7)
limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU)]
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")
assert refuse_system_calls()
for name, attempt in {
    "socket": lambda: socket.socket(),
    "open": lambda: os.open("/dev/null", os.O_RDONLY),
    "unlink": lambda: os.unlink("/nowhere"),
    "fork": lambda: os.fork(),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "kill": lambda: os.kill(os.getppid(), 0),
    "sigqueue": lambda: check(libc.sigqueue(os.getppid(), 0, None)),
    "prlimit": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU),
    "chown": lambda: os.chown("/dev/null", -1, -1),
    "signal by file": lambda: fcntl.fcntl(kept, fcntl.F_SETOWN, os.getppid()),
    "slow": lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 19),
    "pin": lambda: os.sched_setaffinity(os.getppid(), {0}),
    "idle": lambda: os.sched_setscheduler(os.getppid(), os.SCHED_IDLE, os.sched_param(0)),
    "shared memory": lambda: check(libc.shmget(0, 4096, 0o1600)),
    "prctl": lambda: check(libc.prctl(1, 0, 0, 0, 0)),
}.items():
    try:
        attempt()
        print(name, "allowed")
    except PermissionError:
        print(name, "refused")
print("read", kept.read())
print("limits", *limits)
"""


def test_a_confined_process_can_only_use_what_is_open() -> None:
    assert run(TRIES).splitlines() == [
        "socket refused",
        "open refused",
        "unlink refused",
        "fork refused",
        "exec refused",
        "kill refused",
        "sigqueue refused",
        "prlimit refused",
        "chown refused",
        "signal by file refused",
        "slow refused",
        "pin refused",
        "idle refused",
        "shared memory refused",
        "prctl refused",
        "read b''",
        "limits 1073741824 7",
    ]


def test_each_decoder_is_confined_before_it_reads_its_file() -> None:
    with Cage(memory_bytes=2**29, cpu_seconds=7) as cage:
        audio, child = begun(cage)
        with audio:
            process = Path(f"/proc/{child}")
            status = dict(
                line.split(":\t") for line in (process / "status").read_text().splitlines()
            )
            files = [file.readlink() for file in (process / "fd").iterdir()]
            networks = {(of / "ns/net").readlink() for of in (process, Path("/proc/self"))}
            limits = {
                resource.prlimit(child, kind)
                for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE)
            }
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
    assert LONG in files
    assert len(files) == 5, "standard input, output and error, the upload, its channel"
    assert limits == {(2**29, 2**29), (7 + 72, 7 + 72), (0, 0)}
    # Not every container lets a process leave its network.
    may_leave = run("from app.audio.confinement import leave_network; print(leave_network())")
    assert len(networks) == {"True\n": 2, "False\n": 1}[may_leave]


START_WITHOUT_JOBS = """
import platform, socket
platform.machine = lambda: {machine!r}
sys.stderr = sys.stdout
from app.audio.zygote import main
parent, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
parent.close()
main(control.detach())
"""


@pytest.mark.parametrize(("machine", "lines"), [(platform.machine(), 0), ("riscv64", 1)])
def test_the_log_says_when_files_are_decoded_without_a_system_call_filter(
    machine: str, lines: int
) -> None:
    said = run(START_WITHOUT_JOBS.format(machine=machine))
    assert said.count("without a system call filter") == lines


@settings(max_examples=30)
@given(
    name=st.sampled_from(
        ["three.mp3", "three.m4a", "three.ogg", "three-video.webm", "three.flac", "three.mov"]
    ),
    place=st.integers(0, 20_000),
    junk=st.binary(min_size=1, max_size=64),
    missing=st.integers(0, 50_000),
)
# There its header says how many samples follow: a day of them, now.
@example(name="three.flac", place=22, junk=b"\xff" * 4, missing=0)
def test_no_damage_leads_to_anything_but_samples_or_a_refusal(
    cage: Cage, name: str, place: int, junk: bytes, missing: int
) -> None:
    content = bytearray((DATA / "formats" / name).read_bytes())
    content[place : place + len(junk)] = junk
    with tempfile.TemporaryFile() as file:
        file.write(content[: len(content) - missing])
        try:
            with cage.open(file, max_seconds=3600) as audio:
                samples = np.concatenate(list(audio.blocks()))
        except (InvalidRequest, AudioTooLong):
            return
    assert np.isfinite(samples).all()
    assert float(np.abs(samples).max()) <= 1.0
