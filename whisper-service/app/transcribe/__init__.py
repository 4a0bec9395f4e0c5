"""The story of one request: from an opened file to events, in order, as they become final.

transcriber.py  who is taken, up to `started`
story.py        segments and progress, to `finished` or `failed`
detection.py    only the language
ballot.py       which windows vote for it together
strategies.py   windows in parallel, or one after the other
reading.py      the file as blocks and windows, read in threads, with clocks
length.py       how long a file probably is while it is read
segments.py     what was said, as the contract words it
signs.py        signs of life while a step runs
"""

from .story import RequestReport
from .transcriber import Transcriber

__all__ = ["RequestReport", "Transcriber"]
