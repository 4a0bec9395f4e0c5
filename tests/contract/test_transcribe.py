"""The documented route with real audio, through real gateway and worker."""

import http.client
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from house import CLIP, DATA
from running import KEY, Running

from tools.micro_model.measures import word_errors

TRUTH = {item["file"]: item for item in json.loads((DATA / "truth.json").read_text())}
SHORT = sorted(file for file in TRUTH if file.startswith("short/"))


def truth_of(file: str) -> str:
    return " ".join(sentence["text"] for sentence in TRUTH[file]["sentences"])


def send(gateway: Running, file: str, **fields: str) -> dict[str, object]:
    with (DATA / file).open("rb") as audio:
        answer = gateway.post("/transcribe/micro", files={"file": audio}, data=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


@pytest.mark.parametrize("file", SHORT)
def test_a_short_file_gives_its_text_and_language_and_nothing_else(
    gateway: Running, file: str
) -> None:
    answer = send(gateway, file)
    assert set(answer) == {"text", "language"}
    assert answer["language"] == TRUTH[file]["language"]
    wrong, said = word_errors(truth_of(file), str(answer["text"]))
    assert wrong <= 0.15 * said + 1


def test_a_video_gives_its_text_whatever_its_name_and_type_say(gateway: Running) -> None:
    video = (DATA / "formats/three-video.webm").read_bytes()
    answer = gateway.post("/transcribe/micro", files={"file": ("x.pdf", video, "text/plain")})
    assert answer.status_code == 200, answer.text
    assert answer.json()["text"].startswith("Thank you very much and goodbye.")


@pytest.mark.parametrize(
    "file", ["hard/silence-20s.wav", "hard/noise-20s.wav", "hard/tones-20s.wav"]
)
def test_what_is_not_speech_gives_no_text_and_no_language(gateway: Running, file: str) -> None:
    assert send(gateway, file) == {"text": "", "language": None}


def test_a_chunked_upload_gives_the_same_text(gateway: Running) -> None:
    audio = (DATA / "short/en-2.wav").read_bytes()
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'

    def pieces() -> "list[bytes]":
        body = head + audio + b"\r\n--b--\r\n"
        return [body[:1], body[1:2], *(body[i : i + 65_536] for i in range(2, len(body), 65_536))]

    connection = http.client.HTTPConnection(urlsplit(gateway.url).netloc)
    connection.request(
        "POST",
        "/transcribe/micro",
        body=iter(pieces()),
        headers={
            "Authorization": f"Bearer {KEY}",
            "Content-Type": "multipart/form-data; boundary=b",
            "Transfer-Encoding": "chunked",
        },
        encode_chunked=True,
    )
    answer = json.loads(connection.getresponse().read())
    connection.close()
    assert answer == send(gateway, "short/en-2.wav")


def test_verbose_json_has_segments_with_times_and_words(gateway: Running) -> None:
    answer = send(gateway, "short/en-2.wav", response_format="verbose_json", word_timestamps="true")
    assert answer["duration"] == pytest.approx(7.162, abs=0.01)
    segments = answer["segments"]
    assert isinstance(segments, list)
    assert [segment["id"] for segment in segments] == list(range(len(segments)))
    assert segments[0]["words"][0]["word"].strip() == "I"


@pytest.mark.parametrize("where", ["before", "after"])
def test_options_count_wherever_they_stand(gateway: Running, where: str) -> None:
    audio = ("file", ("a", (DATA / "short/de-1.wav").read_bytes()))
    language = ("language", (None, "German"))
    form = [language, audio] if where == "before" else [audio, language]
    answer = gateway.post("/transcribe/micro", files=form)
    assert answer.json()["language"] == "de"


def test_the_worker_serves_its_documented_routes_directly(worker: Running) -> None:
    for path in ("/transcribe/micro", "/transcribe-micro"):
        with CLIP.open("rb") as audio:
            answer = worker.post(path, files={"file": audio})
        assert answer.json()["text"] == "It is on the first floor."
        assert answer.json()["language"] == "en"


def test_the_workers_stream_of_events_collects_to_its_json_answer(worker: Running) -> None:
    audio = (DATA / "short/en-3.wav").read_bytes()
    lines = worker.post(
        "/transcribe/micro", files={"file": audio}, headers={"Accept": "application/jsonl"}
    )
    events = [json.loads(line) for line in lines.text.splitlines()]
    collected = worker.post("/transcribe/micro", files={"file": audio}).json()
    assert lines.headers["content-type"].startswith("application/jsonl")
    assert events[0]["type"] == "started"
    assert events[-1]["type"] == "finished"
    told = [event["text"].strip() for event in events if event["type"] == "segment"]
    assert " ".join(told) == collected["text"]


def test_recorded_streams_can_still_be_read() -> None:
    from gateway.wire import parse_event

    samples = sorted((Path(__file__).parent / "samples").glob("*.jsonl"))
    assert samples
    for sample in samples:
        types = [e.type for e in map(parse_event, sample.read_text().splitlines()) if e is not None]
        assert types[0] == "started"
        assert types[-1] in ("finished", "failed")


def test_health_says_what_is_loaded(gateway: Running) -> None:
    answer = gateway.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {
        "gateway": "ok",
        "model": {"status": "ok", "loaded_models": ["micro"], "pending": [], "failed": []},
    }
    assert gateway.get("/livez").status_code == 200
    assert gateway.get("/readyz").status_code == 200
