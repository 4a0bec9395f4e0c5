"""Which repository of the hub a configured name stands for."""

from typing import Any

import pytest
from house import ROOT
from worker import hub

MICRO = ROOT / "whisper-service" / "models" / "micro"
ALIASES = {
    "ours": "org/model",
    "pinned": "org/model@v1",
    "short": "small@v1",
    "ours@old": "org/old",
}


@pytest.mark.parametrize(
    ("name", "repository", "revision"),
    [
        ("org/model", "org/model", None),
        ("org/model@v2", "org/model", "v2"),
        ("small@v2", "Systran/faster-whisper-small", "v2"),
        ("ours", "org/model", None),
        ("ours@v2", "org/model", "v2"),
        ("pinned", "org/model", "v1"),
        ("pinned@v2", "org/model", "v2"),
        ("short", "Systran/faster-whisper-small", "v1"),
        ("ours@old", "org/old", None),
    ],
)
def test_a_name_stands_for_a_repository_and_a_revision(
    monkeypatch: pytest.MonkeyPatch, name: str, repository: str, revision: str | None
) -> None:
    asked: list[tuple[str, str | None]] = []

    def cached(*, repo_id: str, revision: str | None, **_: Any) -> str:
        asked.append((repo_id, revision))
        return str(MICRO)

    monkeypatch.setattr(hub, "snapshot_download", cached)
    found = hub.find_model(name, ALIASES, offline=True, cache_dir=None, report=lambda share: None)
    assert (found, asked) == (MICRO, [(repository, revision)])


@pytest.mark.parametrize("name", ["micro@v2", "here@v2"])
def test_a_revision_of_a_directory_is_refused(name: str) -> None:
    with pytest.raises(hub.ModelUnobtainable, match="names a revision, and a directory has none"):
        hub.find_model(
            name, {"here": str(MICRO)}, offline=True, cache_dir=None, report=lambda share: None
        )
