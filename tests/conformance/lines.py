"""What a drop-in for OpenAI's speech-to-text must do, line by line, and which test shows it.

A test that shows a line has its number in its name; `rows` finds them.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

CONTRACT = Path(__file__).parent.parent / "contract"

LINES = """
an opened file gives its text
bytes without a name give the same text
a file name may have any letters and a quote
a path is a file
Node: a read stream (chunked, no length) is taken
Node: a buffer and a `File` are taken
Node: `file` may stand before `model`
chunks of one byte and of 64 KiB give the same text
flac, mp3, mp4, mpeg, mpga, m4a, ogg, oga, wav and webm are taken
right bytes under a wrong name, or none, are taken
`language` is honoured
an empty `language` or `prompt` is absent
`temperature` 0 and 0.2 are taken, 1.5 is refused by name
`timestamp_granularities=["word"]` gives words
both granularities give words and segments
no granularity gives segments alone
a list may be spelled without brackets
granularities with `json` are ignored, and named
`chunking_strategy="auto"` is taken
`chunking_strategy` as an object is taken
`chunking_strategy` as JSON is taken
an unknown `chunking_strategy` is refused by name
no `chunking_strategy` is as none at all
`include=["logprobs"]` gives the tokens of the text
an unknown `include` is refused
`keywords` and `languages` are taken
known speakers of megabytes are taken
known speakers without their reference are refused
five known speakers are refused
the worker's options are reached through `extra_body`
an unknown `response_format` is refused by name
a missing `file` or `model` is refused by name
a body that is no multipart is refused in the one shape
`json` has the type of JSON
text and subtitles have a type of text
`text` is the text itself, letters beyond ASCII included
`srt` is read by another parser
`vtt` is read by another parser
`verbose_json` fits the strict types and says its task
segments have ten fields, are numbered, and lie inside the audio
`duration` is that of the audio
words are in order, inside the audio, and make up the text
`diarized_json` tells speakers apart
known speakers are called by their names
`usage` of `json` fits
`usage` of `verbose_json` is the duration
silence gives an empty text
every answer has a request id of its own
two requests at once get each their own text
the same request gives the same text
a stream is deltas and one done
every event fits the strict types
deltas, done and `json` say the same
a stream is server-sent events although `Accept` says JSON
every event is one line of data and a blank line; `[DONE]` ends it
the first delta comes while the rest is still worked on
signs of life are comments
a stream tells speakers apart
a stream has log-probabilities on its deltas
what is no audio is refused before the stream
a failure in the stream is an error of the SDK
a client that leaves frees the decoder
subtitles and `verbose_json` are refused as streams
Node: a stream ends well
translations are English text
a verbose translation is in English
translations come as text and subtitles
translations know no `diarized_json`
models are listed
a model with a slash in its name is found
an unknown model is not found
every listed model, and OpenAI's names, are accepted
a wrong key is 401, and so is none
a model that is not served is 404
what is no audio is a bad request, asked once
under a tenth of a second is too short
an upload that is too large is seen as 413
every error has the one shape
an overload is asked again and then served
what will not change is not asked again
unknown routes and methods have the one shape
a web page's preflight is answered
""".strip().splitlines()

REALTIME = """\
| 83 to 114 | the Realtime API: sessions and client secrets, manual and detected turns, deltas, formats of sound, \
failures, limits | **not met**: not served; `/v1/realtime` is 404 |
"""
NOT_MET = {
    43: "no diarization: 501, never retried",
    44: "no diarization: 501, never retried",
    58: "no diarization: 501 before the stream",
}


def shown() -> dict[int, set[str]]:
    """The test files that show each line, by the numbers in the names of their tests."""
    found: dict[int, set[str]] = {}
    for path in CONTRACT.glob("test_openai_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = node.name if isinstance(node, ast.FunctionDef) else ""
            match = re.match(r"test((?:_\d\d)+)_", name)
            for number in match.group(1).split("_")[1:] if match else []:
                found.setdefault(int(number), set()).add(f"`{path.name}`")
    return found


def rows() -> Iterator[str]:
    """The table: number, what, and where it is shown or why it is not met."""
    tests = shown()
    for number, line in enumerate(LINES, start=1):
        if number in NOT_MET:
            where = f"**not met**: {NOT_MET[number]}"
        else:
            where = ", ".join(sorted(tests[number]))
        yield f"| {number} | {line} | {where} |\n"
    yield REALTIME
