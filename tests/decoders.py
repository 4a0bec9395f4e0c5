"""The processes of the cage, for tests that hurt them: who decodes, who waits for it, and when it is gone."""

import select

from processes import children
from worker.audio import Cage, CagedAudio


def child_of(cage: Cage) -> int:
    """The only decoder at work."""
    [child] = children(cage.pid)
    return child


def is_waited_for(audio: CagedAudio) -> bool:
    """Whether somebody waits for a decoder of which no message has been left unread."""
    poll = select.poll()
    poll.register(audio._channel, select.POLLIN)
    return audio._in_use.locked() and not poll.poll(0)
