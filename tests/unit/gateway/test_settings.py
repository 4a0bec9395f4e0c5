"""The gateway's settings: which models are allowed, and what a wrong setting says."""

from pathlib import Path

import pytest
from gateway.settings import Settings
from pydantic import ValidationError


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # no .env
    for name in ("ALLOWED_MODELS", "WHISPER_MODELS", "MODEL_ALIASES"):
        monkeypatch.delenv(name, raising=False)


def test_the_models_that_the_worker_is_told_to_serve_are_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WHISPER_MODELS", "small, org/name@v2")
    assert Settings().allowed_models == ["small", "org/name"]
    monkeypatch.setenv("ALLOWED_MODELS", "")
    assert Settings().allowed_models == ["small", "org/name"]
    monkeypatch.setenv("ALLOWED_MODELS", "org/name@v2")
    assert Settings().allowed_models == ["org/name"]


def test_a_file_beside_the_environment_counts_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WHISPER_MODELS=micro\n")
    assert Settings().allowed_models == ["micro"]
    (tmp_path / ".env").write_text("WHISPER_MODELS=micro\nALLOWED_MODELS=small\n")
    assert Settings().allowed_models == ["small"]


def test_what_a_wrong_setting_says_tells_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "sk-secret")
    monkeypatch.setenv("WORKER_TOKEN", "wt-secret")
    monkeypatch.setenv("MODEL_ALIASES", '{"whisper-1": "huge"}')
    with pytest.raises(ValidationError, match="'huge', which is not in ALLOWED_MODELS") as failure:
        Settings()
    assert "secret" not in str(failure.value)
