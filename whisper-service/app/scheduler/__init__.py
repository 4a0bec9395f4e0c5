"""Windows of all requests become batches: who is next, what runs together, and what is refused.

The scheduler knows neither models nor sound. It is given `step(batch) -> results` and jobs that say
what they cost and what they can share a batch with.

    queue.py        who is next: priority classes, tenants, requests, slow start; pure
    admission.py    who is taken, and who is told to come again; pure
    speed.py        how fast this machine is: predicted waits, expected step times
    batch_limit.py  how many windows the memory has room for
    reports.py      value objects for hooks, from which metrics are made
    lane.py         one request's view of all this
    executor.py     one batch: its step, its time, its failures
    watchdog.py     steps that take far too long
    workers.py      the threads that take batches
    loop.py         the scheduler itself: the queue's lock, lanes, cancelling
"""

from .admission import Arrival
from .executor import BatchTooLarge
from .lane import Lane
from .loop import Scheduler, SchedulerDied
from .queue import Job, Priority
from .reports import Hook, RefusalReport, Report, StallReport, StepReport

__all__ = [
    "Arrival",
    "BatchTooLarge",
    "Hook",
    "Job",
    "Lane",
    "Priority",
    "RefusalReport",
    "Report",
    "Scheduler",
    "SchedulerDied",
    "StallReport",
    "StepReport",
]
