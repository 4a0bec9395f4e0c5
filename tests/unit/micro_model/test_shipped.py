"""The folder that ships stays small and has all that faster-whisper loads."""

from pathlib import Path


def test_the_folder_has_no_more_than_16_mb_in_all(micro: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in micro.rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= 16_000_000, sizes


def test_the_folder_has_the_model_its_vocabulary_and_a_readme_and_nothing_else(
    micro: Path,
) -> None:
    assert {path.name for path in micro.iterdir()} == {
        "README.md",
        "config.json",
        "model.bin",
        "preprocessor_config.json",
        "tokenizer.json",
        "vocabulary.json",
    }
