"""Value objects that the scheduler hands to hooks: a seam for metrics.

Hooks are called on the scheduler's threads, so they must be quick; an exception in one is logged and
goes no further.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StepReport:
    """One batch has run. Times are in seconds; `waited` has one entry for each window."""

    batch_size: int
    requests: int
    audio_seconds: float
    step_seconds: float
    waited: tuple[float, ...]
    windows_left: int
    failed: bool


@dataclass(frozen=True, slots=True)
class StallReport:
    """A step has taken many times what it should; `windows` says what it works on."""

    windows: tuple[str, ...]
    running_seconds: float
    expected_seconds: float


@dataclass(frozen=True, slots=True)
class RefusalReport:
    """A request was not admitted."""

    reason: Literal["requests", "audio_seconds", "deadline", "closed"]
    waiting_requests: int
    backlog_seconds: float


Report = StepReport | StallReport | RefusalReport
Hook = Callable[[Report], None]


def tell(hooks: Sequence[Hook], report: Report) -> None:
    """Hand a report to each hook, whatever the others do."""
    for hook in hooks:
        try:
            hook(report)
        except Exception:
            log.exception("a hook failed on %r", report)
