"""A recording of hours through an event stream: when text comes, and how long nothing at all does.

    PYTHONPATH=tests python bench/long_stream.py [--minutes 120]

A proxy cuts a connection on which nothing comes for its time, often 60 s: the longest silence counts.
"""

import argparse
import time

import requests
from house import DATA
from processes import both_services
from report import report

KEY = "bench"
TEN_MINUTES = DATA / "long" / "en-10min.mp3"
DELTA, DONE = b'data: {"type":"transcript.text.delta"', b"data: [DONE]"


def stream(url: str, minutes: int) -> dict[str, str | float | int]:
    """Send so many minutes of speech; seconds until each thing came, and the longest silence."""
    audio = TEN_MINUTES.read_bytes() * (minutes // 10)
    form = [("model", (None, "micro")), ("stream", (None, "true")), ("file", audio)]
    headers = {"Authorization": f"Bearer {KEY}"}
    began = last = time.monotonic()
    silence, deltas, first, done = 0.0, 0, 0.0, False
    answer = requests.post(
        f"{url}/v1/audio/transcriptions", headers=headers, files=form, stream=True, timeout=600
    )
    with answer:
        headers_after = time.monotonic() - began
        for line in answer.iter_lines(chunk_size=None):
            now = time.monotonic()
            silence, last = max(silence, now - last), now
            deltas += line.startswith(DELTA)
            first = first or (now - began if deltas else 0.0)
            done = done or line.startswith(DONE)
    return {
        "minutes": minutes,
        "headers": round(headers_after, 2),
        "first delta": round(first, 2),
        "whole": round(time.monotonic() - began, 1),
        "longest silence": round(silence, 2),
        "deltas": deltas,
        "done": done,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=120)
    asked = parser.parse_args()
    with both_services(KEY) as (_, gateway):
        rows = [stream(gateway.url, minutes) for minutes in (10, asked.minutes)]
    report("long_stream", rows, "seconds; goal: longest silence under 60 s")


if __name__ == "__main__":
    main()
