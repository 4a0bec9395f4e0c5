"""espeak-ng and flite speak, and espeak-ng tells when each word starts.

Needs both programs and soxr, which the services do not: skipped where they are not installed.
"""

import ctypes.util
import random
import shutil

import numpy as np
import pytest

pytest.importorskip("soxr")
if ctypes.util.find_library("espeak-ng") is None or shutil.which("flite") is None:
    pytest.skip("espeak-ng or flite is not installed", allow_module_level=True)

from tools.micro_model import voices

TEXT = "We need seven books by Monday."


def test_word_starts_rise_from_the_first_to_the_last_character() -> None:
    speech = voices._trimmed(voices._espeak(TEXT, "en-us+m3", rate=160, pitch=50), len(TEXT))
    said, at = zip(*speech.marks, strict=True)
    assert said == (0, 3, 8, 14, 20, 23, 30)
    assert list(at) == sorted(at)
    assert at[-1] == len(speech.samples)


def test_a_word_told_of_again_behind_a_pause_is_passed_over() -> None:
    told = [(4, 4000), (3, 8000), (9, 9000), (9, 9500), (40, 9900)]
    speech = voices.Speech(np.full(16000, 0.5, np.float32), told, "somebody")
    assert voices._trimmed(speech, 12).marks == [(0, 0), (4, 4000), (9, 9000), (12, 16000)]


def test_speech_is_trimmed_loud_and_of_a_likely_length() -> None:
    for language, text in (("en", TEXT), ("fr", "Bonjour à tous."), ("es", "Está en el piso.")):
        speech = voices.speak(text, language, random.Random(1))
        assert 0.5 * 16000 < len(speech.samples) < 5 * 16000
        assert np.abs(speech.samples).max() == pytest.approx(0.7)
        assert np.abs(speech.samples[:480]).max() > 0.001


def test_flite_speaks_with_known_ends_alone() -> None:
    speech = voices._trimmed(voices._flite(TEXT, "slt", stretch=1.0), len(TEXT))
    assert speech.marks == [(0, 0), (len(TEXT), len(speech.samples))]
    assert speech.voice == "flite-slt"


def test_a_voice_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="espeak-ng has no voice nobody"):
        voices._espeak(TEXT, "nobody", rate=160, pitch=50)


@pytest.mark.parametrize("language", ["en", "de", "fr", "es"])
def test_the_evaluation_hears_voices_that_the_training_does_not(language: str) -> None:
    rng = random.Random(5)
    unheard = {voices.speak("Hola.", language, rng, unheard=True).voice for _ in range(12)}
    heard = {voices.speak("Hola.", language, rng).voice for _ in range(12)}
    assert all(voice.split("+")[1] in voices.UNHEARD_SPEAKERS for voice in unheard)
    assert not unheard & heard


def test_speakers_that_are_drawn_say_the_same_each_in_another_voice() -> None:
    rng, library = random.Random(7), voices._library()
    names = [library.add_speaker(voices.drawn_speaker(rng)) for _ in range(3)]
    spoken = [library.say(TEXT, f"en+{name}", rate=160, pitch=50) for name in ("m3", *names)]
    assert len(set(names)) == 3
    for speech in spoken:
        assert [said for said, _ in speech.marks] == [0, 3, 8, 14, 20, 23]
    spectra = [np.abs(np.fft.rfft(speech.samples, 32000)) for speech in spoken]
    for index, spectrum in enumerate(spectra):
        for other in spectra[:index]:
            assert np.corrcoef(spectrum, other)[0, 1] < 0.9


def test_drawn_speakers_are_mixed_of_those_that_the_training_may_hear() -> None:
    library = voices._library()
    known = {line for name in voices.SPEAKERS if name for line in library.lines(name).values()}
    lines = voices._crossed(random.Random(3))
    assert lines
    assert set(lines) <= known


def test_a_speaker_is_told_line_by_line() -> None:
    library = voices._library()
    name = library.add_speaker(
        "name Bob\npitch 90 120 // low\nformant 4 290 290\nformant 1 95 90 80\n"
    )
    assert library.lines(name) == {"pitch": "pitch 90 120", "formant 1": "formant 1 95 90 80"}
