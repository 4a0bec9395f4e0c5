"""LiteLLM: `transcription` and `atranscription` against an OpenAI-compatible base URL."""

import asyncio
import os
from importlib.metadata import version

from report import AUDIO, KEY, TEXT, URL, report

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm  # it would fetch its list of prices when it is imported

GIVEN = {"model": "openai/whisper-1", "api_base": URL, "api_key": KEY}


def ask(**asked: object) -> object:
    return litellm.transcription(file=("recording.wav", AUDIO), **{**GIVEN, **asked})


def raised(**asked: object) -> str:
    try:
        ask(**asked)
    except Exception as error:
        return type(error).__name__
    return "nothing"


verbose = ask(response_format="verbose_json", timestamp_granularities=["word"])
report(
    f"LiteLLM {version('litellm')}",
    {
        "`transcription`": ask().text == TEXT,
        "`atranscription`": asyncio.run(
            litellm.atranscription(file=("recording.wav", AUDIO), **GIVEN)
        ).text
        == TEXT,
        "words of `verbose_json`": [w["word"] for w in verbose["words"]] == TEXT.split(),
        "`text`": ask(response_format="text").text.strip() == TEXT,
        "a wrong key is `AuthenticationError`": raised(api_key="wrong") == "AuthenticationError",
        "an unknown model is `NotFoundError`": raised(model="openai/nobody") == "NotFoundError",
    },
)
