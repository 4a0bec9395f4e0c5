"""Speaks text with espeak-ng and flite: 16 kHz samples, and when each word of it is heard.

espeak-ng is called through its C library, which says at which sample each word starts; so the times are
known, not measured. One process can hold only one espeak-ng; use several processes for more speed.
"""

import ctypes
import ctypes.util
import random
import subprocess
import tempfile
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soxr  # type: ignore[import-untyped]
from faster_whisper import decode_audio
from numpy.typing import NDArray

from .sound import SAMPLE_RATE

ACCENTS = {
    "en": ("en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-us-nyc"),
    "de": ("de",),
    "fr": ("fr", "fr-be", "fr-ch"),
    "es": ("es", "es-419"),
}
# Names as espeak-ng files them: "en" is British, "fr" of France. Of the speakers "" is the accent's own. Without
# those who are nearly one of the unheard: linda and aunty, in whom belinda is, and f2, in whom f5 is.
SPEAKERS = (
    "", "m1", "m2", "m3", "m4", "m6", "m7", "m8", "f1", "f3", "f4", "adam", "Alex", "Alicia", "Andrea",
    "Andy", "anika", "Annie", "announcer", "antonio", "benjamin", "boris", "caleb", "david", "Denis",
    "Diogo", "ed", "edward", "edward2", "Gene", "Gene2", "grandma", "grandpa", "gustave", "Henrique", "Hugo",
    "iven", "iven2", "iven3", "Jacky", "john", "kaukovalta", "Lee", "marcelo", "Mario", "max",
    "Michael", "michel", "miguel", "Mike", "Nguyen", "norbert", "pablo", "paul", "pedro", "quincy", "rob",
    "robert", "sandro", "shelby", "steph", "steph2", "steph3", "travis", "victor", "zac",
)  # fmt: skip
SPEAKER_LINES = (
    "pitch", "formant", "flutter", "roughness", "voicing", "consonants", "tone", "echo", "breath", "intonation",
    "stressAdd", "stressAmp", "klatt",
)  # fmt: skip
"""What makes the speaker in the file of a variant."""
HIGHEST_FORMANT = 150  # percent of where it is expected
UNHEARD_SPEAKERS = ("m5", "f5", "Marco", "belinda")  # only the evaluation hears them
FLITE_SPEAKERS = ("kal16", "awb", "rms", "slt")  # English alone
FLITE_SHARE = 0.15  # more of them, and a voice unlike espeak-ng's is taken for English
DRAWN_SHARE = 0.6  # of the other clips: a speaker that is drawn at random, see `drawn_speaker`
UNCLEAR_SHARE = 0.35  # of the invented speakers: hoarse, slow and in a room all at once, which chance alone makes rare


@dataclass(frozen=True)
class Speech:
    """One spoken sentence.

    `marks` are (characters said, sample) pairs, rising from (0, 0) to (all, all); between two of them
    the voice is taken to be even. espeak-ng gives one for each word, flite only the ends.
    """

    samples: NDArray[np.float32]
    marks: list[tuple[int, int]]
    voice: str


def speak(text: str, language: str, rng: random.Random, *, unheard: bool = False) -> Speech:
    """Say a sentence with a voice drawn at random, trimmed, with a peak of 0.7."""
    if language == "en" and not unheard and rng.random() < FLITE_SHARE:
        speech = _flite(text, rng.choice(FLITE_SPEAKERS), stretch=rng.uniform(0.85, 1.2))
    else:
        speaker = rng.choice(UNHEARD_SPEAKERS if unheard else SPEAKERS)
        if not unheard and rng.random() < DRAWN_SHARE:
            speaker = _library().add_speaker(drawn_speaker(rng))
        voice = rng.choice(ACCENTS[language]) + (f"+{speaker}" if speaker else "")
        rate, pitch = ((130, 190), (25, 75)) if unheard else ((120, 205), (15, 85))
        speech = _espeak(text, voice, rng.randint(*rate), rng.randint(*pitch))
    return _trimmed(speech, len(text))


def drawn_speaker(rng: random.Random) -> str:
    """Return an espeak-ng voice variant (its docs/voices.md): throat, melody, breath and room of somebody new.

    Mostly each line comes from any of the speakers above; else the numbers are drawn, from the ranges
    that those speakers span.
    """
    lines = _crossed(rng) if rng.random() < 0.5 else _invented(rng)
    return "\n".join(["language variant", "gender male", *lines]) + "\n"


def _crossed(rng: random.Random) -> list[str]:
    """Return each line of a variant from a speaker of its own."""
    speakers = _speakers()
    kinds = sorted({kind for lines in speakers for kind in lines})
    donors = [(kind, rng.choice(speakers)) for kind in kinds]
    return [donor[kind] for kind, donor in donors if kind in donor]


@cache
def _speakers() -> list[dict[str, str]]:
    return [_library().lines(name) for name in SPEAKERS if name]


def _invented(rng: random.Random) -> list[str]:
    unclear = rng.random() < UNCLEAR_SHARE
    low = rng.randint(60, 200)
    lines = [f"pitch {low} {round(low * rng.uniform(1.15, 1.8))}"]
    tract = rng.uniform(0.85, 1.2)
    for formant in range(9):
        spread = (0.85, 1.18) if rng.random() < 0.6 else (0.6, 1.5)
        frequency = round(100 * tract * rng.uniform(*spread))
        if formant >= 4 and rng.random() < (0.3 if unclear else 0.15):
            frequency = rng.randint(0, 40)  # as some speakers do without it
        height = rng.randint(50, 190) if formant < 4 else rng.randint(10, 140)
        shift = rng.randint(-300, 300) if formant and rng.random() < 0.2 else 0  # Hz
        lines.append(f"formant {formant} {frequency} {height} {rng.randint(20, 180)} {shift}")
    lines += [f"flutter {rng.randint(0, 5)}", f"roughness {rng.randint(0, 4)}"]
    voiced = rng.uniform(1.4, 1.8 if unclear else 2.35)
    lines += [
        f"voicing {round(10**voiced)}",  # percent: halves are as likely as doubles
        f"consonants {rng.randint(50, 190)} {rng.randint(20, 190)}",
    ]
    if rng.random() < 0.6:
        corners = sorted(rng.randint(100, 5000) for _ in range(rng.randint(2, 4)))
        lines.append("tone " + " ".join(f"{corner} {rng.randint(20, 255)}" for corner in corners))
    if unclear or rng.random() < 0.5:
        lines.append(f"echo {rng.randint(10, 140)} {rng.randint(5, 80)}")
    if rng.random() < 0.3:
        lines.append("breath " + " ".join(str(rng.randint(0, 8)) for _ in range(8)))
    if rng.random() < 0.3:
        lines.append(f"intonation {rng.randint(1, 4)}")
    if unclear or rng.random() < 0.5:
        # One speaker is slow or quick throughout.
        slow = rng.randint(100 if unclear else -40, 250)
        added = (min(255, max(-50, slow + rng.randint(-70, 70))) for _ in range(8))
        lines.append("stressAdd " + " ".join(map(str, added)))
    if rng.random() < 0.4:
        lines.append("stressAmp " + " ".join(str(rng.randint(12, 40)) for _ in range(8)))
    return lines


def _trimmed(speech: Speech, characters: int) -> Speech:
    """Cut the silence before and after, and let the first and last mark be the speech's ends."""
    block = 160
    level = np.abs(speech.samples[: len(speech.samples) // block * block]).reshape(-1, block).max(1)
    loud = np.nonzero(level > 0.01 * max(float(level.max(initial=0)), 1e-6))[0]
    if not len(loud):
        return speech
    first, last = max(0, int(loud[0]) - 2) * block, (int(loud[-1]) + 4) * block
    samples = speech.samples[first:last]
    marks = [(0, 0)]
    for said, at in speech.marks:
        # Behind a pause espeak-ng at times tells of an earlier word again.
        if marks[-1][0] < said < characters and 0 < at - first < len(samples):
            marks.append((said, at - first))
    marks.append((characters, len(samples)))
    return Speech(samples * (0.7 / np.abs(samples).max()), marks, speech.voice)


def _flite(text: str, speaker: str, stretch: float) -> Speech:
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        command = ["flite", "-voice", speaker, "--setf", f"duration_stretch={stretch:.2f}",
                   "-t", text, "-o", file.name]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        samples = decode_audio(file.name, sampling_rate=SAMPLE_RATE)
    return Speech(samples, [], f"flite-{speaker}")


class _Event(ctypes.Structure):
    """`espeak_EVENT` of espeak-ng's speak_lib.h."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # characters, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


_END_OF_EVENTS, _WORD = 0, 1
_SYNCHRONOUS = 2
_RATE, _PITCH = 1, 3
_UTF8 = 1
_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class _Espeak:
    """The C library with a callback that collects samples and word events."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng")
        if name is None:
            raise OSError("espeak-ng is not installed (its library libespeak-ng was not found)")
        self.library = ctypes.CDLL(name)
        self.library.espeak_Info.restype = ctypes.c_char_p
        self.library.espeak_Initialize(_SYNCHRONOUS, 0, None, 0)
        path = ctypes.c_char_p()
        self.library.espeak_Info(ctypes.byref(path))
        self.library.espeak_Terminate()
        self._data = tempfile.TemporaryDirectory()
        self._variants = _linked(Path((path.value or b"").decode()), Path(self._data.name))
        self.rate = self.library.espeak_Initialize(_SYNCHRONOUS, 0, self._data.name.encode(), 0)
        self.callback = _Callback(self._collect)  # kept: the library holds only a pointer
        self.library.espeak_SetSynthCallback(self.callback)
        self.blocks: list[NDArray[np.int16]] = []
        self.words: list[tuple[int, int]] = []

    def _collect(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int,
                 events: "ctypes._Pointer[_Event]") -> int:  # fmt: skip
        if samples and count:
            self.blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        at = 0
        while events[at].type != _END_OF_EVENTS:
            if events[at].type == _WORD:
                self.words.append((events[at].text_position - 1, events[at].audio_position))
            at += 1
        return 0

    def add_speaker(self, variant: str) -> str:
        """Make a variant known; return its name."""
        name = f"drawn-{zlib.crc32(variant.encode()):08x}"
        (self._variants / name).write_text(variant)
        return name

    def lines(self, speaker: str) -> dict[str, str]:
        """Return what makes a speaker, by what each line is about; "formant 1" is one thing.

        Formants far out of place are left out: beside other formants they crash espeak-ng.
        """
        text = (self._variants / speaker).read_text(encoding="utf-8", errors="replace")
        lines = [line.split("//")[0].split() for line in text.splitlines()]
        return {
            " ".join(words[: 2 if words[0] == "formant" else 1]): " ".join(words)
            for words in lines
            if words
            and words[0] in SPEAKER_LINES
            and not (words[0] == "formant" and int(words[2]) > HIGHEST_FORMANT)
        }

    def say(self, text: str, voice: str, rate: int, pitch: int) -> Speech:
        """Return what is said and (characters, sample) at each word's start."""
        self.blocks, self.words = [], []
        if self.library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"espeak-ng has no voice {voice}")
        self.library.espeak_SetParameter(_RATE, rate, 0)
        self.library.espeak_SetParameter(_PITCH, pitch, 0)
        encoded = text.encode()
        self.library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, _UTF8, None, None)
        samples = np.concatenate(self.blocks).astype(np.float32) / 32768
        marks = [(said, ms * SAMPLE_RATE // 1000) for said, ms in self.words]
        return Speech(soxr.resample(samples, self.rate, SAMPLE_RATE, quality="MQ"), marks, voice)


def _linked(installed: Path, folder: Path) -> Path:
    """Link espeak-ng's data into a folder of our own; return where variants can be added."""
    data = folder / "espeak-ng-data"
    variants = data / "voices" / "!v"
    variants.mkdir(parents=True)
    for source, target in (
        (installed, data), (installed / "voices", data / "voices"), (installed / "voices" / "!v", variants)
    ):  # fmt: skip
        for entry in source.iterdir():
            if not (target / entry.name).exists():
                (target / entry.name).symlink_to(entry)
    return variants


@cache
def _library() -> _Espeak:
    return _Espeak()


def _espeak(text: str, voice: str, rate: int, pitch: int) -> Speech:
    return _library().say(text, voice, rate, pitch)
