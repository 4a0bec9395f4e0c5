"""Which repository of the hub a configured name stands for."""

from pathlib import Path
from typing import Any

import pytest
from house import MICRO
from huggingface_hub.errors import LocalEntryNotFoundError
from processes import printed_by
from worker import hub

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


def test_what_the_client_for_xet_storage_fails_with_may_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It knows RuntimeError alone."""

    def failing(*, local_files_only: bool = False, dry_run: bool = False, **_: Any) -> list[Any]:
        if local_files_only:
            raise LocalEntryNotFoundError("not here")
        if dry_run:
            return []
        raise RuntimeError("CAS Client Error: error sending request")

    monkeypatch.setattr(hub, "snapshot_download", failing)
    with pytest.raises(hub.HubFailed, match=r"org/model could not be fetched: .* CAS Client Error"):
        hub.find_model(
            "org/model", {}, offline=False, cache_dir=tmp_path, report=lambda share: None
        )


def test_a_setting_that_compose_passes_on_as_empty_is_none() -> None:
    code = "import os, app; print('SSL_CERT_FILE' in os.environ)"
    for value, kept in (("", "False"), ("/etc/ca.pem", "True")):
        assert printed_by("worker", code, SSL_CERT_FILE=value).strip() == kept


@pytest.mark.parametrize("name", ["micro@v2", "here@v2"])
def test_a_revision_of_a_directory_is_refused(name: str) -> None:
    with pytest.raises(hub.ModelUnobtainable, match="names a revision, and a directory has none"):
        hub.find_model(
            name, {"here": str(MICRO)}, offline=True, cache_dir=None, report=lambda share: None
        )
