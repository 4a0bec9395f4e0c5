"""Speaks sentences drawn from the grammar, in all cores, and writes them as sets of clips.

    python -m tools.micro_model.synthesize FOLDER --clips 50000 --seed 1

`--unseen` makes the evaluation's set: sentences and voices that the training never hears.
`--matching "fifteen|fifty"` makes practice for what a model confuses: only sentences of which the English
form has that expression, in all languages; a few such sets beside the others are read like them.
"""

import argparse
import random
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .clips import Clip, save_set
from .grammar import LANGUAGES, Texts, draw, is_unseen
from .sound import SAMPLE_RATE
from .voices import Speech, speak

SHORTEST, LONGEST = SAMPLE_RATE // 5, SAMPLE_RATE * 12
PER_FILE = 5000
MOST_REFUSED = 100_000  # sentences, after which none of a kind is expected any more


class NothingMatches(Exception):
    """Nobody says what is asked for; the message is one sentence."""


def make_set(
    path: Path, clips: int, seed: int, *, unseen: bool = False, matching: str = ""
) -> None:
    """Speak sentences and write them as one set, each language in turn."""
    rng = random.Random(seed)
    made: list[Clip] = []
    samples: list[NDArray[np.int16]] = []
    size = 0
    sentences = _wanted(rng, unseen, matching)
    while len(made) < clips:
        texts = next(sentences)
        language = LANGUAGES[len(made) % len(LANGUAGES)]
        speech = speak(texts[language], language, rng, unheard=unseen)
        if not SHORTEST <= len(speech.samples) <= LONGEST:
            continue
        made.append(_clip(texts, language, speech, size))
        samples.append((speech.samples * 32767).astype(np.int16))
        size += len(speech.samples)
    save_set(path, made, np.concatenate(samples))


def _wanted(rng: random.Random, unseen: bool, matching: str) -> Iterator[Texts]:
    """Draw sentences for ever; raises NothingMatches where there seem to be none of that kind."""
    refused = 0
    while refused < MOST_REFUSED:
        texts = draw(rng)
        if is_unseen(texts) == unseen and re.search(matching, texts["en"]):
            yield texts
            refused = 0
        refused += 1
    raise NothingMatches(f"of {MOST_REFUSED:,} sentences none matches {matching!r}")


def _clip(texts: dict[str, str], language: str, speech: Speech, first: int) -> Clip:
    size = len(speech.samples)
    return Clip(language, texts[language], texts["en"], speech.voice, speech.marks, first, size)


def main() -> None:
    """Make the sets named on the command line, in as many processes as there are cores."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=50000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--unseen", action="store_true", help="the evaluation's sentences and voices"
    )
    parser.add_argument(
        "--matching",
        type=_regex,
        default="",
        metavar="REGEX",
        help="only sentences with it in their English",
    )
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    files = -(-arguments.clips // PER_FILE)
    names = [arguments.folder / f"{arguments.seed}-{index}" for index in range(files)]
    sizes = [min(PER_FILE, arguments.clips - PER_FILE * index) for index in range(files)]
    seeds = [arguments.seed * 1000 + index for index in range(files)]
    with ProcessPoolExecutor() as pool:
        kinds = repeat(arguments.unseen), repeat(arguments.matching)
        try:
            list(pool.map(_make, names, sizes, seeds, *kinds))
        except NothingMatches as exc:
            parser.error(str(exc))


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {exc}") from exc
    return text


def _make(path: Path, clips: int, seed: int, unseen: bool, matching: str) -> None:
    make_set(path, clips, seed, unseen=unseen, matching=matching)


if __name__ == "__main__":
    main()
