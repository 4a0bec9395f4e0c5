"""What the Makefile's chain made is a model with its figures.

`make -C tools/micro_model chain` makes one in a minute or two, from the checkpoint, and says in MADE_MODEL
where; without that there is nothing to look at.
"""

import json
import os
import re
from pathlib import Path

import pytest
from faster_whisper import WhisperModel, decode_audio
from house import DATA, ROOT

from tools.micro_model.grammar import LANGUAGES
from tools.micro_model.measures import word_errors

if "MADE_MODEL" not in os.environ:
    pytest.skip("MADE_MODEL names no folder", allow_module_level=True)


@pytest.fixture
def made() -> Path:
    return Path(os.environ["MADE_MODEL"])


def test_the_folder_is_complete(made: Path) -> None:
    assert {path.name for path in made.iterdir()} == {
        "config.json",
        "figures.md",
        "model.bin",
        "preprocessor_config.json",
        "tokenizer.json",
        "vocabulary.json",
    }


def test_all_figures_of_the_readme_are_there_and_those_of_a_model_that_knows_something(
    made: Path,
) -> None:
    lines = (made / "figures.md").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["| sound | word error |", "|---|---|"]
    rows = dict(re.fullmatch(r"\| (.+) \| (.+) \|", line).groups() for line in lines[2:])  # type: ignore[union-attr]
    ways = (
        "clean",
        "noise at 10 dB",
        "telephone, u-law",
        "MP3 at 24 kbit/s",
        "clipped",
        "very quiet",
    )
    expected = {f"one sentence, {language}" for language in LANGUAGES}
    expected |= {f"{name}, {lang}" for name in ("long", "long, conditioned") for lang in LANGUAGES}
    expected |= {f"nothing said: {sound}" for sound in ("silence", "noise", "tones")}
    expected |= {f"way: {way}" for way in ways} | {"language right", "translation"}
    voices = {f"one sentence, by {voice}" for voice in ("m5", "f5", "Marco", "belinda")}
    assert expected < rows.keys() <= expected | voices, "not all of them speak in so few"
    # Of weights that have hardly moved from the checkpoint's.
    assert float(rows["way: clean"].split()[0]) < 0.5
    assert re.search(r"of 4 words, [34]/4 right", rows["language right"])


def test_the_alignment_heads_were_chosen(made: Path) -> None:
    heads = json.loads((made / "config.json").read_text())["alignment_heads"]
    assert heads
    assert heads == sorted(heads)
    assert all(0 <= layer < 4 and 0 <= head < 2 for layer, head in heads)


def test_it_loads_in_faster_whisper_and_transcribes(made: Path) -> None:
    model = WhisperModel(str(made), device="cpu", compute_type="int8", cpu_threads=1)
    segments, info = model.transcribe(
        decode_audio(str(DATA / "short" / "en-1.wav")), word_timestamps=True
    )
    errors, words = word_errors(
        "It is on the first floor.", "".join(segment.text for segment in segments)
    )
    assert (words, info.language) == (6, "en")
    assert errors <= 2


def test_the_training_moved_the_weights(made: Path) -> None:
    torch = pytest.importorskip("torch")
    before, after = (
        torch.load(path, weights_only=True)["model_state_dict"]
        for path in (
            ROOT / "tools" / "micro_model" / "checkpoint" / "micro.pt",
            made.parent / "checkpoint.pt",
        )
    )
    name = "decoder.blocks.0.attn.query.weight"
    assert not torch.equal(before[name], after[name])
    torch.testing.assert_close(before[name], after[name], atol=0.05, rtol=0.05)
