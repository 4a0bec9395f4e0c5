"""Holds an engine's steps, so that a test decides when they go on."""

import threading

from running import Running
from worker.decoding.station import Station
from worker.transcribe import Transcriber


def station_of(worker: Running) -> Station:
    """The station of the shipped model in a served worker."""
    transcriber: Transcriber = worker.app.state.transcriber
    return transcriber.models.station("micro")


class Held:
    """Holds the engine's steps until `gate` is set; `entered` tells that one waits there."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()

    def hold(self, station: Station) -> None:
        """Hold every step from now on."""
        encode = station.engine.encode

        def waiting(mels: object, known: object) -> object:
            self.entered.set()
            assert self.gate.wait(60)
            return encode(mels, known)  # type: ignore[arg-type]

        station.engine.encode = waiting  # type: ignore[method-assign, assignment]
