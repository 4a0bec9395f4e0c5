"""A warm model with its queue: what a request is given when it asks for a model by name."""

from pathlib import Path

from ..engine import Engine, EngineError
from ..languages import LANGUAGES
from ..scheduler import Hook, Scheduler
from ..settings import Settings
from ..wire import ModelInfo
from .attempt import Attempt, Outcome
from .step import Step
from .vocabulary import Vocabulary


class Station:
    """One engine, its vocabulary, and the scheduler that feeds it. Closed by its owner."""

    def __init__(
        self, name: str, directory: Path, settings: Settings, hooks: list[Hook] | None = None
    ) -> None:
        """Load and warm up; raises EngineError."""
        self.name = name
        self.engine = Engine(name, directory, settings)
        try:
            self.vocabulary = Vocabulary(directory, multilingual=self.engine.multilingual)
            if self.engine.shape is not None:
                self.vocabulary.check_fits(self.engine.shape.tokens)
        except ValueError as exc:
            self.engine.close()
            raise EngineError(f"'{name}' could not be loaded: {exc}") from exc
        self.step = Step(self.engine, self.vocabulary)
        self.scheduler: Scheduler[Attempt, Outcome] = Scheduler(
            self.step,
            prove=self.engine.prove,
            workers=self.engine.workers,
            max_batch_size=self.engine.max_batch_size,
            max_requests=settings.whisper_max_queue,
            max_queue_seconds=settings.whisper_max_queue_seconds,
            fills_up=self.engine.device != "cpu",  # there a window more takes nearly its whole time
            hooks=hooks or [],
        )
        self.scheduler.learn(self.engine.warm_up_seconds)
        self.scheduler.start()
        # Such a model answers in the source language.
        is_cut_short = self.engine.shape is not None and self.engine.shape.is_cut_short
        translates = self.engine.multilingual and not is_cut_short
        self.info = ModelInfo(
            id=name,
            status="ready",
            languages=[code for code in LANGUAGES if self.vocabulary.knows(code)],
            tasks=["transcribe", "translate"] if translates else ["transcribe"],
        )

    @property
    def is_well(self) -> bool:
        """Whether its threads live, no step is stalled, and its device computes."""
        return self.scheduler.alive and not self.scheduler.watchdog.stalled

    def close(self) -> None:
        """End the batch in flight and give the model's memory back, unless that batch never ends."""
        if self.scheduler.close():
            self.engine.close()
