"""A window's spectrogram equals faster-whisper's on the same samples padded with silence."""

import numpy as np
import pytest
from faster_whisper.audio import decode_audio
from faster_whisper.feature_extractor import FeatureExtractor
from house import DATA
from worker.mel import log_mel

SPEECH = np.asarray(decode_audio(str(DATA / "long" / "en-90s.flac")))


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize(
    ("length", "seconds"),
    [
        (480000, 30),
        (479900, 30),
        (100000, 30),
        (100000, 10),
        (159999, 15),
        (161, 30),
        (1, 30),
        (0, 30),
    ],
)
def test_the_numbers_are_those_of_faster_whisper(n_mels: int, length: int, seconds: float) -> None:
    padded = np.zeros(int(seconds * 16000), np.float32)
    padded[:length] = SPEECH[:length]
    expected = FeatureExtractor(feature_size=n_mels)(padded, padding=0)
    found = log_mel(SPEECH[:length], n_mels, seconds)
    assert found.shape == (n_mels, seconds * 100)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert float(np.abs(found - expected).max()) < 1e-6


def test_a_window_that_does_not_fit_is_refused_instead_of_cut() -> None:
    with pytest.raises(ValueError, match="160001 samples do not fit into 10"):
        log_mel(SPEECH[:160001], 80, 10)
