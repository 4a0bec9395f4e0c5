"""The worker's settings: what is refused at start rather than at every request."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from worker.settings import Settings


def test_a_folder_for_uploads_that_is_not_there_is_refused_at_start(tmp_path: Path) -> None:
    assert Settings(whisper_temp_dir=tmp_path).whisper_temp_dir == tmp_path
    with pytest.raises(ValidationError, match="whisper_temp_dir"):
        Settings(whisper_temp_dir=tmp_path / "nowhere")


def test_two_revisions_of_a_model_which_could_not_be_told_apart_are_refused_at_start() -> None:
    assert Settings(whisper_models=["org/m@a", "org/m@a"]).whisper_models == ["org/m@a"]
    with pytest.raises(ValidationError, match="two revisions of org/m"):
        Settings(whisper_models=["org/m@a", "small", "org/m@b"])
