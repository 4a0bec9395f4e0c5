"""A worker that plays a script: for what a real one does only on a bad day."""

import asyncio
import threading
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from worker.edge import error_response
from worker.errors import ServiceError

STARTED = '{"type":"started","request_id":"r","model":"micro"}\n'
SEGMENT = (
    '{"type":"segment","id":0,"seek":0,"start":0,"end":1,"text":" Hi.","tokens":[],"temperature":0,'
    '"avg_logprob":0,"compression_ratio":1,"no_speech_prob":0}\n'
)
FINISHED = '{"type":"finished","language":"en","duration":1.0}\n'
FAILED = (
    '{"type":"failed","status":413,"code":"audio_too_long","message":"Too long","param":"file"}\n'
)


class FalseWorker:
    """Refuses as often as `refusals` says, else reads the upload and sends `lines`.

    Without `admits` it says nothing even when it is asked beforehand.
    An event among the lines is waited for, and `every_seconds` before each line. With `hang` it falls silent after the last; `streaming`
    is set then, `released` when nobody listens. Its model `micro` transcribes once it is ready.
    """

    def __init__(
        self,
        *lines: str | threading.Event,
        hang: bool = False,
        every_seconds: float = 0.0,
        refusals: tuple[ServiceError, ...] = (),
        model_status: str = "ready",
        admits: bool = True,
    ) -> None:
        self.lines, self.hang, self.refusals = lines, hang, list(refusals)
        self.admits = admits
        self.every_seconds = every_seconds
        self.model: dict[str, object] = {"id": "micro", "status": model_status}
        if model_status == "ready":
            self.model |= {"tasks": ["transcribe"]}
        self.streaming, self.released = threading.Event(), threading.Event()
        self.asked: list[dict[str, str]] = []
        self.app = FastAPI()
        self.app.get("/models")(self.models)
        self.app.post("/admission/{model}", status_code=204)(self.admit)
        self.app.post("/transcribe/{model}")(self.transcribe)
        self.app.post("/detect-language/{model}")(self.transcribe)

    async def models(self) -> Response:
        return JSONResponse([self.model])

    async def admit(self, request: Request) -> Response:
        self.asked.append(dict(request.headers))
        while not self.admits and (await request.receive())["type"] != "http.disconnect":
            pass
        if self.refusals:
            return error_response(self.refusals.pop(0))
        return Response(status_code=204)

    async def transcribe(self, request: Request) -> Response:
        async for _ in request.stream():
            pass
        return StreamingResponse(self.stream(), media_type="application/jsonl")

    async def stream(self) -> AsyncIterator[str]:
        try:
            for line in self.lines:
                await asyncio.sleep(self.every_seconds)
                if isinstance(line, str):
                    yield line
                else:
                    await asyncio.to_thread(line.wait, 60)
            self.streaming.set()
            if self.hang:
                await asyncio.Event().wait()
        finally:
            self.released.set()
