"""A small model hub on a local port: enough of the real one's API for `huggingface_hub` to download.

Serves the shipped model as `org/micro`, the same with a file of 64 MiB as `org/padded`, without its tokenizer
as `org/wordless`, and under a revision alone as `org/moved@v1`; `org/text` is no model. It lists `org/gated` and
keeps its files back, refuses `org/unsigned` and `org/unwell`, and hangs up on who asks for `org/silent`.
Anything else it does not have. One file can be held in the middle.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from house import MICRO
from processes import PATIENCE

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLDER = "89abcdef0123456789abcdef0123456789abcdef"
REVISIONS = {"main": COMMIT, "v1": OLDER}


def _shipped() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in MICRO.iterdir()}


@dataclass
class Hub:
    """The running hub: what it has been asked for, and the file that it sends half of for now."""

    url: str = ""
    held_file: str = ""
    asked: list[str] = field(default_factory=list)
    may_finish: threading.Event = field(default_factory=threading.Event)
    repositories: dict[str, dict[str, bytes]] = field(
        default_factory=lambda: {
            "org/micro": _shipped(),
            "org/padded": _shipped() | {"vocabulary.padding": bytes(64 * 1024**2)},
            "org/wordless": {k: v for k, v in _shipped().items() if k != "tokenizer.json"},
            "org/moved": {"README.md": b"Moved."},
            "org/moved@v1": _shipped(),
            "org/gated": _shipped(),
            "org/text": {"README.md": b"Nothing but text.", "config.json": b"{}"},
        }
    )

    def files(self, owner: str, name: str, commit: str) -> dict[str, bytes] | None:
        """What a repository holds at a commit, if there is one."""
        return self.repositories.get(f"{owner}/{name}{'' if commit == COMMIT else '@v1'}")


@contextmanager
def model_hub() -> Iterator[Hub]:
    """Serve until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        hub.may_finish.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, code: object = "-", size: object = "-") -> None:
            hub.asked.append(f"{self.command} {self.path}")

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            parts = self.path.split("?")[0].strip("/").split("/")
            match parts:
                case ["api", "models", "org", "unsigned", *_]:
                    self._refuse("", 401, "Invalid credentials in Authorization header")
                case ["api", "models", "org", "unwell", *_]:
                    self._refuse("", 503)
                case ["api", "models", "org", "silent", *_]:
                    self.close_connection = True
                case ["org", "gated", "resolve", *_]:
                    self._refuse("GatedRepo", 403)
                case ["api", "models", owner, name, "revision", revision] if revision in REVISIONS:
                    commit = REVISIONS[revision]
                    files = hub.files(owner, name, commit)
                    siblings = [{"rfilename": file} for file in files or {}]
                    info = {"id": f"{owner}/{name}", "sha": commit, "siblings": siblings}
                    self._answer_json(files, info)
                case ["api", "models", owner, name, "tree", commit]:
                    files = hub.files(owner, name, commit)
                    self._answer_json(files, [_entry(*item) for item in (files or {}).items()])
                case [owner, name, "resolve", commit, file]:
                    content = (hub.files(owner, name, commit) or {}).get(file)
                    self._answer_file(file, content, commit)
                case _:
                    self._refuse("RevisionNotFound")

        def _answer_json(self, files: dict[str, bytes] | None, answer: object) -> None:
            if files is None:
                self._refuse("RepoNotFound")
                return
            self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

        def _answer_file(self, file: str, content: bytes | None, commit: str) -> None:
            if content is None:
                self._refuse("EntryNotFound")
                return
            headers = {"ETag": f'"{_oid(content)}"', "X-Repo-Commit": commit}
            status, start = 200, 0
            if "Range" in self.headers:
                start = int(self.headers["Range"].removeprefix("bytes=").split("-")[0])
                status = 206
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            held_at = len(content) // 2 if file == hub.held_file else None
            self._send(status, content[start:], headers, held_at)

        def _refuse(self, code: str, status: int = 404, message: str = "") -> None:
            headers = {"X-Error-Code": code, "X-Error-Message": message}
            self._send(status, b"{}", {**headers, "Content-Type": "application/json"})

        def _send(
            self, status: int, body: bytes, headers: dict[str, str], held_at: int | None = None
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            try:
                self.wfile.write(body[:held_at])
                if held_at is not None:
                    assert hub.may_finish.wait(PATIENCE)
                    self.wfile.write(body[held_at:])
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = (
                    True  # the worker was killed: that is what the test is about
                )

    return Handler


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _entry(path: str, content: bytes) -> dict[str, object]:
    return {"type": "file", "path": path, "size": len(content), "oid": _oid(content)}


def cached_files(cache: Path) -> set[str]:
    """Names of the model files that a cache directory holds."""
    return {path.name for path in cache.glob("**/snapshots/*/*")}
