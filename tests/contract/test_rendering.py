"""Answers are laid out beside the event loop: hours of words would hold everybody else up."""

import threading
from typing import Any

import pytest
from gateway.formats.subtitles import WRITERS
from house import CLIP
from running import Running


@pytest.mark.parametrize(
    ("path", "fields"),
    [("/v1/audio/transcriptions", {"model": "micro"}), ("/transcribe/micro", {})],
    ids=["v1", "transcribe"],
)
def test_subtitles_are_not_made_in_the_event_loop(
    gateway: Running,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    fields: dict[str, str],
) -> None:
    made_in: list[str] = []
    original = WRITERS["srt"]

    def noted(*arguments: Any) -> str:
        made_in.append(threading.current_thread().name)
        return original(*arguments)

    monkeypatch.setitem(WRITERS, "srt", noted)
    with CLIP.open("rb") as audio:
        answer = gateway.post(path, files={"file": audio}, data=fields | {"response_format": "srt"})
    assert answer.status_code == 200, answer.text
    assert len(made_in) == 1
    assert made_in[0].startswith("asyncio_")  # the loop's pool, by its default name
