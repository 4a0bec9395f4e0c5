"""Answers are laid out beside the event loop: hours of words would hold everybody else up."""

import threading
from typing import Any

import pytest
from gateway.routes import openai, transcribe
from house import DATA
from running import Running


@pytest.mark.parametrize(
    ("module", "path", "fields"),
    [
        (openai, "/v1/audio/transcriptions", {"model": "micro"}),
        (transcribe, "/transcribe/micro", {}),
    ],
    ids=["v1", "transcribe"],
)
def test_subtitles_are_not_made_in_the_event_loop(
    gateway: Running,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    path: str,
    fields: dict[str, str],
) -> None:
    made_in: list[str] = []
    original = module.srt

    def noted(*arguments: Any) -> str:
        made_in.append(threading.current_thread().name)
        return original(*arguments)

    monkeypatch.setattr(module, "srt", noted)
    with (DATA / "short" / "en-1.wav").open("rb") as audio:
        answer = gateway.post(path, files={"file": audio}, data=fields | {"response_format": "srt"})
    assert answer.status_code == 200, answer.text
    assert len(made_in) == 1
    assert made_in[0].startswith("asyncio_")  # the loop's pool, by its default name
