"""The processes of the cage, for tests that hurt them: who decodes, who waits for it, and when it is gone."""

import os
import select
from pathlib import Path

from worker.audio import Cage, CagedAudio


def children(pid: int) -> list[int]:
    """The processes that `pid` has started and that have not been buried."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def child_of(cage: Cage) -> int:
    """The only decoder at work."""
    [child] = children(cage.pid)
    return child


def wait_for_end(process: int) -> None:
    """Block until a process that is not ours has ended (its open file becomes readable), and close that."""
    select.select([process], [], [])
    os.close(process)


def is_waited_for(audio: CagedAudio) -> bool:
    """Whether somebody waits for a decoder of which no message has been left unread."""
    poll = select.poll()
    poll.register(audio._channel, select.POLLIN)
    return audio._in_use.locked() and not poll.poll(0)
