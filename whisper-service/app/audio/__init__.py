"""Sound as the rest of the worker knows it: float32, mono, 16 kHz, in blocks of a few seconds.

Whatever a client sends is bytes from a stranger until `AudioReader` has made samples of it. No other
package touches libav.
"""

from .cage import Cage
from .caged import CagedAudio
from .reader import SAMPLE_RATE, AudioReader, Samples

__all__ = ["SAMPLE_RATE", "AudioReader", "Cage", "CagedAudio", "Samples"]
