"""The contract between the services: what the events of a request add up to."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from worker.scripts import spaced
from worker.wire import Event, Finished, Segment, collect


def segment(number: int, text: str) -> Segment:
    scores = {
        "temperature": 0.0,
        "avg_logprob": 0.0,
        "compression_ratio": 1.0,
        "no_speech_prob": 0.0,
    }
    times = {"start": number, "end": number + 1}
    return Segment.model_validate(
        {"id": number, "seek": 0, "text": text, "tokens": []} | times | scores
    )


@pytest.mark.parametrize(
    ("segments", "text"),
    [
        ([" It is cold.", " Yes."], "It is cold. Yes."),
        (["今天天气很好。", "我们去公园吧。"], "今天天气很好。我们去公园吧。"),
        ([" One."], "One."),
        ([], ""),
    ],
)
def test_the_text_is_what_segments_add_up_to(segments: list[str], text: str) -> None:
    async def events() -> AsyncIterator[Event]:
        for number, said in enumerate(segments):
            yield segment(number, said)
        yield Finished(language="en", language_probability=1.0, duration=9.0)

    assert asyncio.run(collect(events())).text == text


@pytest.mark.parametrize(
    ("before", "text", "follows"),
    [
        ("", "It is cold.", "It is cold."),
        ("It is cold.", " Yes.", " Yes."),
        ("It is cold.", "Yes.", " Yes."),
        ("It is cold. ", "Yes.", "Yes."),
        ("今天天气很好。", "我们去公园吧。", "我们去公园吧。"),
        ("날씨가 좋다.", "공원에 가자.", " 공원에 가자."),
    ],
)
def test_a_space_stands_between_segments_where_the_script_wants_one(
    before: str, text: str, follows: str
) -> None:
    assert spaced(before, text) == follows
