"""The story of one request: from an opened file to events, in order, as they become final.

transcriber.py  admission, and the story from `started` to `finished` or `failed`
strategies.py   windows in parallel, or one after the other
reading.py      the file as blocks and windows, read in threads, with clocks
segments.py     what was said, as the contract words it
"""

from .transcriber import RequestReport, Transcriber

__all__ = ["RequestReport", "Transcriber"]
