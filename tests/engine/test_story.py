"""The story of one request, told by the real model: its events, times across silence, failures, many at once."""

import asyncio
import json
import re
import tempfile
import threading
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from asking import ONE, answer, collected, events, joined, upload
from house import DATA
from processes import PATIENCE, until
from worker.decoding.attempt import Attempt, Outcome
from worker.decoding.station import Station
from worker.decoding.step import Step
from worker.decoding.vocabulary import Vocabulary
from worker.errors import Overloaded, RemoteError
from worker.transcribe import RequestReport, Transcriber, signs
from worker.wire import Failed, Finished, Progress, Segment, Started


def test_no_more_is_ever_done_than_there_is(transcriber: Transcriber) -> None:
    """9.836 s end inside a frame, of 10 ms."""
    told = events(transcriber, "short/en-3.wav", vad_filter=False)
    done = [event.audio_seconds_done for event in told if isinstance(event, Progress)]
    finished = told[-1]
    assert isinstance(finished, Finished)
    assert done == sorted(done)
    assert done[-1] == pytest.approx(finished.duration, abs=0.01)
    assert done[-1] <= finished.duration
    etas = [e.eta_seconds for e in told if isinstance(e, Progress) and e.audio_seconds_done > 0]
    assert all(eta is not None and eta >= 0 for eta in etas)
    assert etas[-1] == pytest.approx(0, abs=0.01)


def test_the_story_starts_once_and_ends_once_and_adds_up(transcriber: Transcriber) -> None:
    told = events(transcriber, "short/en-3.wav")
    assert isinstance(told[0], Started)
    assert isinstance(told[-1], Finished)
    assert {type(event) for event in told[1:-1]} == {Segment, Progress}
    segments = [event for event in told if isinstance(event, Segment)]
    assert [segment.id for segment in segments] == [0, 1, 2]
    assert [segment.text for segment in segments][:2] == [
        " Our sales team reported six new orders on Friday.",
        " The weather in Vienna is cold today.",
    ]
    last = told[-1]
    assert (last.language, last.flags) == ("en", [])
    assert last.duration == pytest.approx(9.836, abs=0.01)
    assert last.speech_seconds == pytest.approx(8.2, abs=1.0)
    for number in (last.queue_seconds, last.load_seconds, last.vad_seconds, last.rtf):
        assert number is not None
        assert number >= 0
    assert last.inference_seconds is not None
    assert last.inference_seconds > 0


@pytest.mark.parametrize("silence", [3.0, 12.0])
@pytest.mark.parametrize("without_timestamps", [True, False])
def test_times_across_silence_are_those_of_the_file(
    transcriber: Transcriber, silence: float, without_timestamps: bool
) -> None:
    file = joined("short/en-1.wav", "short/en-1.wav", silence=silence)
    options = {"word_timestamps": True, "without_timestamps": without_timestamps}
    found = answer(transcriber, file, **options)
    starts = [segment.start for segment in found.segments]
    assert found.text == f"{ONE} {ONE}"
    assert starts == pytest.approx([0.2, 2.076 + silence + 0.2], abs=0.15)
    words = [word for segment in found.segments for word in segment.words or []]
    earliest = 0.0
    for word in words:
        assert earliest <= word.start <= word.end <= found.duration
        earliest = word.end
    for segment in found.segments:
        assert segment.words
        assert segment.start <= segment.words[0].start
        assert segment.words[-1].end <= segment.end


def test_a_long_silence_ends_a_segment_without_punctuation_though_it_was_left_out(
    transcriber: Transcriber, station: Station
) -> None:
    file = joined("short/en-1.wav", "short/en-1.wav", silence=6.0)
    ends = [token for mark in ".?!" for token in station.vocabulary.encode(mark)]
    found = answer(transcriber, file, language="en", suppress_tokens=[-1, *ends])
    assert not set(".?!") & set(found.text)
    starts = [segment.start for segment in found.segments]
    assert starts == pytest.approx([0.2, 2.076 + 6.0 + 0.2], abs=0.15)
    assert found.segments[0].end < 2.2


@pytest.mark.parametrize("file", ["hard/silence-20s.wav", "hard/noise-20s.wav"])
def test_silence_never_reaches_the_model(
    transcriber: Transcriber, station: Station, file: str
) -> None:
    before = station.scheduler.speed.predicted_alone(1.0)
    found = answer(transcriber, file)
    assert (found.text, found.language, found.flags) == ("", None, ["no_speech"])
    assert found.inference_seconds == 0.0
    assert station.scheduler.speed.predicted_alone(1.0) == before


def test_a_forced_language_is_told_even_for_silence(transcriber: Transcriber) -> None:
    assert answer(transcriber, "hard/silence-20s.wav", language="de").language == "de"


def test_the_sum_of_what_is_kept_and_dropped_is_the_file(transcriber: Transcriber) -> None:
    found = answer(transcriber, "hard/40s-pause.wav")
    assert found.dropped_seconds == pytest.approx(40.2, abs=0.5)


def test_a_file_that_breaks_off_is_told_as_far_as_it_goes_and_flagged(
    transcriber: Transcriber,
) -> None:
    whole = (DATA / "formats/three.flac").read_bytes()
    half = tempfile.TemporaryFile()  # noqa: SIM115 (the reading closes it)
    half.write(whole[: len(whole) // 2])
    half.seek(0)
    found = answer(transcriber, half)
    assert found.flags == ["truncated"]
    assert found.text.startswith("Thank you very much and goodbye.")
    assert answer(transcriber, "formats/three.flac").flags == []


@pytest.mark.parametrize(
    ("call", "following_types"),
    [("transcribe", ["segment", "finished"]), ("detect_language", ["detected"])],
)
def test_signs_of_life_come_while_a_step_runs_and_stop_when_it_hangs(
    transcriber: Transcriber,
    station: Station,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    following_types: list[str],
) -> None:
    encode, watchdog = station.engine.encode, station.scheduler.watchdog
    entered, gate = threading.Event(), threading.Event()

    def held(mels: Any, known: Any) -> Any:
        entered.set()
        assert gate.wait(60)
        return encode(mels, known)

    monkeypatch.setattr(station.engine, "encode", held)
    monkeypatch.setattr(signs, "EVERY_SECONDS", 0.01)

    async def listen() -> list[str]:
        told_by = getattr(transcriber, call)
        async with aclosing(told_by("micro", upload("short/en-1.wav"), "t")) as events:
            assert (await anext(events)).type in ("started", "progress")
            while not entered.is_set():
                assert (await anext(events)).type == "progress"
            told = [(await anext(events)).type]
            monkeypatch.setattr(watchdog, "stall_factor", 0.0)
            monkeypatch.setattr(watchdog, "stall_floor_seconds", 0.0)
            following = asyncio.ensure_future(anext(events))
            told += ["silence"] if not (await asyncio.wait({following}, timeout=0.5))[0] else []
            gate.set()
            rest = [await following, *[event async for event in events]]
            return [*told, *(event.type for event in rest if not isinstance(event, Progress))]

    assert asyncio.run(listen()) == ["progress", "silence", *following_types]


@pytest.mark.parametrize(
    "strategy",
    [{}, {"multilingual": True}, {"condition_on_previous_text": True}, {"vad_filter": False}],
    ids=lambda strategy: next(iter(strategy), "default"),
)
@pytest.mark.parametrize("file", ["long/en-90s.flac", "long/es-90s.flac"])
def test_of_dense_speech_no_sentence_is_lost_or_doubled(
    transcriber: Transcriber, file: str, strategy: dict[str, Any]
) -> None:
    [truth] = [
        entry for entry in json.loads((DATA / "truth.json").read_text()) if entry["file"] == file
    ]
    sentences = truth["sentences"]
    segments = answer(transcriber, file, **strategy).segments
    for sentence in sentences:
        inside = [s for s in segments if s.start < sentence["end"] and s.end > sentence["start"]]
        heard = sum(min(s.end, sentence["end"]) - max(s.start, sentence["start"]) for s in inside)
        assert heard > 0.8 * (sentence["end"] - sentence["start"]), sentence
    for before, after in pairwise(segments):
        assert before.end <= after.start
    words = sum(len(sentence["text"].split()) for sentence in sentences)
    heard_words = sum(len(segment.text.split()) for segment in segments)
    assert heard_words == pytest.approx(words, rel=0.05)
    last = sentences[-1]
    assert abs(segments[-1].end - last["end"]) < 0.5
    # The first word and not the last: to count eight digits is the model's to get right.
    assert segments[-1].text.split()[0] == last["text"].split()[0]


def test_a_deadline_that_cannot_be_met_is_refused_before_the_work(
    transcriber: Transcriber,
) -> None:
    with pytest.raises(Overloaded, match="deadline"):
        answer(transcriber, "long/en-90s.flac", deadline=1e-6)


def test_sentences_of_a_model_that_writes_no_space_before_them_stand_apart(
    transcriber: Transcriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = Vocabulary.decode
    monkeypatch.setattr(Vocabulary, "decode", lambda self, tokens: decode(self, tokens).strip())
    told = answer(transcriber, "short/de-2.wav")
    assert told.text == "Es ist im dritten Stock. Das Wetter in Berlin ist heute warm."
    assert [segment.text[:4] for segment in told.segments] == ["Es i", " Das"]


def test_many_at_once_get_each_their_own_text(transcriber: Transcriber) -> None:
    texts = {
        "short/en-1.wav": ONE,
        "short/de-1.wav": "Schalte das Radio an, dort ist das Restaurant.",
        "short/de-2.wav": "Es ist im dritten Stock. Das Wetter in Berlin ist heute warm.",
        "short/es-1.wav": "Mis colores favoritos son rojo y azul.",
    }

    async def ask(file: str) -> tuple[str, str]:
        return file, (await collected(transcriber, file)).text

    async def everybody() -> list[tuple[str, str]]:
        return list(await asyncio.gather(*(ask(file) for file in [*texts] * 6)))

    for file, text in asyncio.run(everybody()):
        assert text == texts[file]


def test_on_a_cpu_a_clip_shares_no_batch_with_a_file_that_has_been_served(
    transcriber: Transcriber, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would wait for all windows of the batch; with its language named they could share one."""
    few = 4  # batches, until which not many windows of a file are prepared
    batches: list[list[int]] = []
    may_go_on = threading.Event()

    def held(step: Step, batch: list[Attempt]) -> list[Outcome]:
        batches.append([attempt.frames for attempt in batch])
        assert len(batches) <= few or may_go_on.wait(PATIENCE)
        return [Outcome(no_speech_prob=1.0, avg_logprob=-2.0)] * len(batch)

    def waits(*, clip: bool) -> bool:
        is_held = len(batches) == few + station.scheduler.workers
        return is_held and clip in {entry.job.frames < 300 for entry in station.scheduler._queue}

    monkeypatch.setattr(Step, "__call__", held)

    async def both() -> None:
        file = asyncio.ensure_future(collected(transcriber, "long/en-10min.mp3", language="en"))
        await asyncio.to_thread(until, lambda: waits(clip=False))
        clip = asyncio.ensure_future(collected(transcriber, "short/en-1.wav", language="en"))
        await asyncio.to_thread(until, lambda: waits(clip=True))
        may_go_on.set()
        await asyncio.gather(file, clip)

    asyncio.run(both())
    [with_clip] = [batch for batch in batches if min(batch) < 300]
    assert len(with_clip) == 1


def test_each_request_that_ends_well_is_reported(transcriber: Transcriber) -> None:
    reports: list[RequestReport] = []
    transcriber.hooks.append(reports.append)
    answer(transcriber, "short/en-1.wav", no_speech_threshold=0.0, log_prob_threshold=-10.0)
    transcriber.hooks.clear()
    [report] = reports
    assert (report.model, report.segments, dict(report.doubts)) == ("micro", 1, {"no_speech": 1})


def test_the_log_says_where_in_the_file_a_window_lies_that_fails(
    transcriber: Transcriber,
    station: Station,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    encode, failures = station.engine.encode, [ValueError("a bad window")]

    def refuse_once(*told: Any) -> Any:
        if failures:
            raise failures.pop()
        return encode(*told)

    monkeypatch.setattr(station.engine, "encode", refuse_once)
    with pytest.raises(RemoteError):
        answer(transcriber, joined("hard/silence-20s.wav", "short/en-1.wav"))
    [failure] = [record for record in caplog.records if record.name == "worker.scheduler.executor"]
    assert re.fullmatch(r"t, (19|20)\.\d to 2[12]\.\d s failed", failure.getMessage())


@pytest.mark.parametrize("call", ["encode", "generate", "align"])
def test_a_window_that_fails_is_told_and_harms_nobody_else(
    transcriber: Transcriber, station: Station, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A call of the engine fails with one window, and with the batch that it is in."""
    encode, works = station.engine.encode, getattr(station.engine, call)
    poison: list[Any] = []
    poisoned_batches: list[int] = []
    running = threading.local()
    entered, gate = threading.Semaphore(0), threading.Event()

    def watched(mels: Any, known: Any) -> Any:
        if not poison:
            poison.extend(mels)
        running.is_poisoned = any(np.array_equal(mel, poison[0]) for mel in mels)
        if running.is_poisoned:
            poisoned_batches.append(len(mels))
        return encode(mels, known)

    def held(mels: Any, known: Any) -> Any:
        entered.release()
        assert gate.wait(60)
        return refuse(mels, known) if call == "encode" else watched(mels, known)

    def refuse(*args: Any, **options: Any) -> Any:
        if call == "encode":
            watched(*args)
        if running.is_poisoned:
            raise ValueError("a bad window")
        return works(*args, **options)

    async def ask(file: str) -> tuple[str, str]:
        told = transcriber.transcribe("micro", upload(file, language="de"), file)
        events = [event async for event in told]
        texts = [event.text for event in events if isinstance(event, Segment)]
        last = events[-1]
        end = f"{last.status} {last.code}" if isinstance(last, Failed) else last.type
        return end, "".join(texts)

    async def everybody() -> list[tuple[str, str]]:
        """All threads are busy until the bad window and another one wait for the next batch."""
        busy = list[asyncio.Future[tuple[str, str]]]()
        for _ in range(station.engine.workers):
            busy.append(asyncio.ensure_future(ask("short/de-2.wav")))
            assert await asyncio.to_thread(entered.acquire, timeout=60)
        others = [asyncio.ensure_future(ask(f"short/de-{n}.wav")) for n in (1, 3)]
        while len(station.scheduler._queue) < len(others):  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)
        gate.set()
        return list(await asyncio.gather(*busy, *others))

    monkeypatch.setattr(station.engine, "encode", watched)
    alone = [asyncio.run(ask(f"short/de-{n}.wav")) for n in (1, 2, 3)]
    poisoned_batches.clear()
    monkeypatch.setattr(station.engine, call, refuse)
    monkeypatch.setattr(station.engine, "encode", held)
    *busy, bad, other = asyncio.run(everybody())
    assert (bad, other) == (("500 internal_error", ""), alone[2])
    assert busy == [alone[1]] * station.engine.workers
    assert poisoned_batches[0] == 2
    assert [end for end, _ in alone] == ["finished"] * 3
