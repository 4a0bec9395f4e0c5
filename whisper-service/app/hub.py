"""From a model's name to a local directory that holds it: shipped, configured, cached or fetched."""

import errno
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import ctranslate2
from faster_whisper.utils import _MODELS as HUB_IDS
from httpx2 import HTTPError
from huggingface_hub import snapshot_download
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from tqdm import tqdm

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent.parent / "models"
FILES = ["config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*"]

LEFT_AFTER_SECONDS = 3600
"""A part of a download that has not grown for so long belongs to nobody any more."""

Report = Callable[[float | None], None]
"""Told the share of bytes that have been fetched, 0 to 1, or None while it is not known."""


class ModelUnobtainable(Exception):
    """The model cannot be had; the message is one sentence for operators."""


class HubFailed(ModelUnobtainable):
    """It could not be fetched now, and may be later: the hub did not answer, or was in trouble itself."""


def find_model(
    name: str, aliases: dict[str, str], *, offline: bool, cache_dir: Path | None, report: Report
) -> Path:
    """Return the directory of a configured model, fetching it when it is not here yet.

    A name is an alias, a model that ships in `models/`, a faster-whisper name, or a hub id
    `org/name` with an optional `@revision`. A directory is taken only as an alias' value, so that
    no request can ever name one. Raises ModelUnobtainable.
    """
    bare, _, revision = name.partition("@")
    if name in aliases:
        bare, revision = name, ""
    source = aliases.get(bare)
    if source is not None and Path(source).is_dir():
        return _checked(_unpinned(Path(source), name, revision), name)
    if source is not None:
        bare, _, pinned = source.partition("@")
        revision = revision or pinned
    elif (SHIPPED / bare / "model.bin").is_file() and "/" not in bare:
        return _unpinned(SHIPPED / bare, name, revision)
    repository = HUB_IDS.get(bare, bare)
    if repository.count("/") != 1 or repository.startswith(("/", ".")):
        raise ModelUnobtainable(
            f"'{name}' is neither a known model, nor a hub id like org/name, nor an alias of an "
            "existing directory"
        )
    return _checked(_fetch(repository, revision or None, offline, cache_dir, report), name)


def _unpinned(directory: Path, name: str, revision: str) -> Path:
    """Refuse a revision of what the hub does not keep: nobody could know which one is served."""
    if revision:
        raise ModelUnobtainable(f"'{name}' names a revision, and a directory has none")
    return directory


def _fetch(
    repository: str, revision: str | None, offline: bool, cache_dir: Path | None, report: Report
) -> Path:
    """Take the model from the cache if it is whole there, else from the hub."""
    wanted: dict[str, Any] = {
        "repo_id": repository,
        "revision": revision,
        "cache_dir": cache_dir,
        "allow_patterns": FILES,
    }
    try:
        cached = Path(snapshot_download(**wanted, local_files_only=True))
        if _fault(cached) is None:  # a download that another program did not finish looks like one
            return cached
    except LocalEntryNotFoundError:
        pass
    except HFValidationError as exc:
        raise ModelUnobtainable(f"'{repository}' is not a hub id like org/name") from exc
    if offline:
        raise ModelUnobtainable(
            f"{repository} is not in the cache and WHISPER_OFFLINE forbids to fetch it"
        )
    _delete_leftovers(repository, cache_dir)
    told = _bytes_to_fetch(wanted)
    total = told or 0
    log.info("fetching %s: %d MB", repository, total / 1e6)
    try:
        bar = _progress_bar(repository, total, report)
        fetched = Path(snapshot_download(**wanted, tqdm_class=bar))
    except (OSError, HTTPError, RuntimeError) as exc:  # the last is hf_xet's, for all that fails
        error = _answered(exc)
        kind = HubFailed if _may_pass(error) else ModelUnobtainable
        raise kind(_sentence(repository, revision, error)) from exc
    if told is None and _fault(fetched) is not None:
        # Where the hub is silent, a part that another program has left in the cache is given.
        raise HubFailed(f"{repository} could not be fetched: the hub cannot be reached")
    return fetched


def _delete_leftovers(repository: str, cache_dir: Path | None) -> None:
    """Delete what downloads have left that were killed: no later one takes it up.

    Where several workers share a cache, one that is still running writes to its part all the time.
    """
    folder = repo_folder_name(repo_id=repository, repo_type="model")
    for part in (Path(cache_dir or HF_HUB_CACHE) / folder / "blobs").glob("*.incomplete"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > LEFT_AFTER_SECONDS:
                part.unlink()


def _answered(error: Exception) -> Exception:
    """What the hub answered, where it did."""
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, HfHubHTTPError):
        return error.__cause__
    return error


def _may_pass(error: Exception) -> bool:
    """Whether the same download may succeed later, with nobody doing anything."""
    match error:
        case LocalEntryNotFoundError():
            return True
        case HfHubHTTPError(response=answer):
            return answer.status_code >= 500 or answer.status_code in (408, 429)
        case OSError(errno=errno.EACCES | errno.EPERM | errno.EROFS | errno.ENOSPC):
            return False
        case _:
            return True


def _bytes_to_fetch(wanted: dict[str, Any]) -> int | None:
    """How much is missing in the cache; None where the hub does not tell."""
    try:
        files = snapshot_download(**wanted, dry_run=True)
    except (OSError, HTTPError):
        return None
    return sum(file.file_size or 0 for file in files if file.will_download)


def _sentence(repository: str, revision: str | None, error: Exception) -> str:
    """What went wrong with a download, in words that say what to do."""
    match error:
        case GatedRepoError():
            return f"{repository} is gated: accept its terms on the hub and set HF_TOKEN"
        case RepositoryNotFoundError():
            return f"The hub has no repository {repository}, or HF_TOKEN may not read it"
        case RevisionNotFoundError():
            return f"{repository} has no revision {revision}"
        case HfHubHTTPError(response=answer, server_message=message):
            told = f" ({message})" if message else ""
            return f"{repository} could not be fetched: the hub answers {answer.status_code}{told}"
        case LocalEntryNotFoundError(__cause__=cause):
            why = f" ({type(cause).__name__}: {cause})" if cause else ""
            return f"{repository} could not be fetched: the hub cannot be reached{why}"
        case OSError(errno=errno.EACCES | errno.EPERM | errno.EROFS):
            return f"{repository} could not be stored: the cache {error.filename} is not writable"
        case _:
            return f"{repository} could not be fetched: {type(error).__name__}: {error}"


def _checked(directory: Path, name: str) -> Path:
    """Refuse what is not a CTranslate2 Whisper model with a tokenizer of its own."""
    if fault := _fault(directory):
        raise ModelUnobtainable(f"'{name}' {fault}")
    return directory


def _fault(directory: Path) -> str | None:
    """Why a directory cannot be served, as the end of a sentence; None where it can."""
    if not ctranslate2.contains_model(str(directory)):
        return "is not a Whisper model in CTranslate2's format"
    if not (directory / "tokenizer.json").is_file():
        # faster-whisper would fetch another model's tokenizer, with a vocabulary that may not fit.
        return "has no tokenizer.json"
    return None


def _progress_bar(repository: str, total: int, report: Report) -> type[Any]:
    """A stand-in for tqdm that reports the share of bytes instead of drawing a bar.

    huggingface_hub draws several bars, one for files and others for bytes received and stored, whose
    own totals grow while it learns of files; the share is that of the bar of bytes that is ahead.
    """
    seen = logged = 0.0

    class ProgressBar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.counts_bytes = kwargs.get("unit") == "B"
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            nonlocal seen, logged
            self.n += n or 0
            if not self.counts_bytes or not total:
                return
            seen = max(seen, min(1.0, self.n / total))
            report(seen)
            if seen - logged >= 0.1:
                logged = seen
                log.info("fetching %s: %d %% of %d MB", repository, seen * 100, total / 1e6)

    return ProgressBar
