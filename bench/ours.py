"""Our engine in this process, as the worker has it, without HTTP."""

import math
import os
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.audio import Cage
from app.decoding.station import Station
from app.models import Models
from app.settings import Settings
from app.transcribe import Transcriber
from app.uploads import Upload
from app.wire import Failed, Options, Segment, Word


@dataclass
class Heard:
    """What came of one request; seconds from its begin."""

    first: float = 0.0
    """Until the first segment."""
    end: float = 0.0
    texts: list[str] = field(default_factory=list)
    """Of its segments."""
    words: list[Word] = field(default_factory=list)


class Ours:
    """One model, its queue and the decoders of files."""

    def __init__(self, directory: Path, *, compute_type: str, device: str = "cpu") -> None:
        """Load the model; its threads are shared out as by default, whatever the shell or a `.env` sets."""
        for name in Settings.model_fields:
            os.environ.pop(name.upper(), None)
        self.settings = Settings(
            _env_file=None,
            whisper_models=["bench"],
            whisper_aliases={"bench": str(directory)},
            whisper_device=device,
            whisper_compute_type=compute_type,
            whisper_max_queue_seconds=1e9,  # a crowd of long files has more hours than a day
        )
        self.models = Models(self.settings, lambda name, path: Station(name, path, self.settings))
        if not self.models.load_all():
            raise SystemExit("the model could not be loaded")
        self.station = self.models.station("bench")
        self.cage = Cage()
        self._transcriber = Transcriber(self.settings, self.models, self.cage)

    async def hear(self, file: Path, *, most: float = math.inf, **options: Any) -> Heard:
        """Transcribe a file to its end, or until it has `most` segments; raises what makes it fail."""
        began, heard = time.monotonic(), Heard()
        upload = Upload(file.open("rb"), 0, Options(**options))
        async with aclosing(self._transcriber.transcribe("bench", upload, file.name)) as events:
            async for event in events:
                match event:
                    case Segment():
                        heard.texts.append(event.text)
                        heard.words += event.words or []
                        heard.first = heard.first or time.monotonic() - began
                    case Failed():
                        raise event.error
                if len(heard.texts) >= most:
                    break
        heard.end = time.monotonic() - began
        return heard

    def close(self) -> None:
        """Let the model and the decoders go."""
        self.models.close()
        self.cage.close()
