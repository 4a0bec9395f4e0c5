"""Open WebUI's requests, as its `routers/audio` of version 0.12.4 makes them with aiohttp."""

import asyncio
from collections.abc import AsyncIterator
from importlib.metadata import version

import aiohttp
from report import AUDIO, KEY, TEXT, URL, report


async def chunks() -> AsyncIterator[bytes]:
    for start in range(0, len(AUDIO), 65_536):
        yield AUDIO[start : start + 65_536]


async def ask(key: str = KEY, content_type: str | None = None, **fields: str) -> tuple[int, dict]:
    form = aiohttp.FormData()
    for name, value in ({"model": "whisper-1"} | fields).items():
        form.add_field(name, value)
    form.add_field("file", chunks(), filename="recording.webm", content_type=content_type)
    headers = {"Authorization": f"Bearer {key}"}
    address = f"{URL}/audio/transcriptions"
    async with (
        aiohttp.ClientSession() as session,
        session.post(address, headers=headers, data=form) as answer,
    ):
        return answer.status, await answer.json()


async def main() -> None:
    status, body = await ask(key="wrong")
    report(
        f"Open WebUI's forms, aiohttp {version('aiohttp')}",
        {
            "a chunked form": (await ask())[1]["text"] == TEXT,
            "with a language": (await ask(language="en"))[1]["text"] == TEXT,
            "with a type": (await ask(content_type="audio/webm"))[1]["text"] == TEXT,
            "an unknown language is an error to try again without": (
                (await ask(language="xx"))[0] == 400
            ),
            "an error is read at `error.message`": status == 401 and bool(body["error"]["message"]),
        },
    )


asyncio.run(main())
