"""A workspace that a server owns, worked on through its HTTP API."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx

from assistant.filters import Filters
from ingest.errors import (
    DocumentError,
    EngineUnavailableError,
    GroundtuneError,
    TooLargeError,
    UsageError,
)
from ingest.files import Upload
from ingest.tally import FileResult, Tally

ANSWER_S = 600.0  # a long answer on a busy CPU; connecting must still fail fast
CONNECT_S = 5.0
POLL_S = 0.2
BATCH_BYTES = 8_000_000
BATCH_FILES = 100


class _File(NamedTuple):
    """A file to send."""

    source: str
    path: str
    """Where it lies; empty for what is no file."""
    content: bytes


Body = dict[str, Any]


class RemoteWorkspace(AbstractContextManager["RemoteWorkspace"]):
    """Does over HTTP what commands do on a workspace of their own, with the same bodies.

    Every method raises the error that the server met, with its message and hint, and
    EngineUnavailableError if no server answers.
    """

    def __init__(
        self, url: str, transport: httpx.BaseTransport | None = None, key: str = ""
    ) -> None:
        """Work through the server at `url`; `transport` None takes the network.

        `key` is an access key, for a server that asks for one.
        """
        self._url = url
        self._client = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            transport=transport,
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            trust_env=False,  # a proxy has no business between two processes of one machine
        )

    def ask(self, body: Mapping[str, Any]) -> Body:
        """Return the body of the answer; `body` is that of `POST /api/ask`."""
        return self._call("POST", "/api/ask", json={**body, "stream": False})

    def search(
        self,
        query: str,
        *,
        k: int | None = None,
        collection: str = "default",
        filters: Filters | None = None,
        include_superseded: bool = False,
        explain: bool = False,
    ) -> Body:
        """Return `{"hits": [...]}`, and with `explain` how they were found and what was not."""
        body = {
            "query": query,
            "k": k,
            "collection": collection,
            "filters": dict(filters or {}),
            "include_superseded": include_superseded,
            "explain": explain,
        }
        return self._call("POST", "/api/search", json=body)

    def documents(self, collection: str | None = None) -> Body:
        """Return `{"documents": [...]}`."""
        params = {} if collection is None else {"collection": collection}
        return self._call("GET", "/api/documents", params=params)

    def document(self, document_id: str) -> Body:
        """Return a document with its text and chunks."""
        return self._call("GET", f"/api/documents/{quote(document_id, safe='')}")

    def delete(self, document_id: str) -> Body:
        """Remove a document; return `{"deleted": id}`."""
        return self._call("DELETE", f"/api/documents/{quote(document_id, safe='')}")

    def adapters(self) -> Body:
        """Return `{"adapters": [...]}`."""
        return self._call("GET", "/api/adapters")

    def ingest(
        self,
        uploads: Sequence[Upload],
        collection: str,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Body:
        """Upload files, wait until they are ingested, and return the tally.

        A file that cannot be read or is too large is listed as failed and the rest goes on.
        `on_progress` gets how many files are through, and how many there are.
        """
        started = time.monotonic()
        tally = Tally().body()
        failed: list[dict[str, str]] = []
        through = 0
        for batch in _batches(uploads, failed):
            before = through + len(failed)

            def moved(done: int, before: int = before) -> None:
                on_progress(before + done, len(uploads))

            result = self._send(batch, collection, moved)
            tally = _added(tally, result)
            through += len(batch)
            on_progress(through + len(failed), len(uploads))
        unread = Tally()
        for failure in failed:
            unread.note(FileResult(failure["source"], "failed", error=failure["error"]))
        return {**_added(tally, unread.body()), "seconds": round(time.monotonic() - started, 2)}

    def backup(self, target: Path) -> Body:
        """Write all of the workspace into the file `target`; return what it holds."""
        try:
            with self._client.stream("POST", "/api/backup") as response:
                if not response.is_success:
                    response.read()
                    raise _error(response)
                with target.open("wb") as file:
                    for piece in response.iter_bytes():
                        file.write(piece)
                names = ("documents", "chunks", "files")
                return {name: int(response.headers[f"X-{name}"]) for name in names}
        except httpx.HTTPError as error:
            raise self._silent(error) from None

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def prune(self, folders: Sequence[Path], collection: str) -> int:
        """Remove the documents whose files are gone from `folders`; return how many."""
        named = [str(folder.absolute()) for folder in folders if folder.is_dir()]
        if not named:
            return 0  # nothing is below a file
        body = {"collection": collection, "folders": named}
        deleted: int = self._call("POST", "/api/documents/prune", json=body)["deleted"]
        return deleted

    def _send(self, batch: Sequence[_File], collection: str, moved: Callable[[int], None]) -> Body:
        files = [("files", (file.source, file.content)) for file in batch]
        data = {
            "collection": collection,
            "source": [file.source for file in batch],
            "path": [file.path for file in batch],
        }
        try:
            accepted = self._call("POST", "/api/documents", data=data, files=files)
        except TooLargeError as error:
            if len(batch) == 1:
                return _nothing_but(batch[0].source, error)
            results = [self._send([file], collection, lambda done: None) for file in batch]
            return reduce(_added, results)
        done = 0
        while True:
            job = self._call("GET", f"/api/jobs/{accepted['job_id']}")
            if job["progress"]["done"] > done:
                done = job["progress"]["done"]
                moved(done)
            if job["result"] is not None:
                result: Body = job["result"]
                return result
            if job["status"] == "failed":
                raise GroundtuneError(f"The server stopped ingesting: {job['error']}")
            time.sleep(POLL_S)

    def _call(self, method: str, path: str, **rest: Any) -> Body:
        try:
            response = self._client.request(method, path, **rest)
        except httpx.HTTPError as error:
            raise self._silent(error) from None
        if response.is_success:
            body: Body = response.json()
            return body
        raise _error(response)

    def _silent(self, error: httpx.HTTPError) -> EngineUnavailableError:
        return EngineUnavailableError(
            f"The server at {self._url} does not answer: {error}",
            hint="It owns this workspace. If it hangs, stop it, and try again.",
        )


def _batches(uploads: Sequence[Upload], failed: list[dict[str, str]]) -> Iterator[list[_File]]:
    """Yield files to send together; one that cannot be read is added to `failed`."""
    batch: list[_File] = []
    size = 0
    for upload in uploads:
        try:
            content = upload.content()
        except DocumentError as error:
            failed.append({"source": upload.source, "error": error.message})
            continue
        except OSError as error:
            failed.append({"source": upload.source, "error": error.strerror or str(error)})
            continue
        names = {file.source for file in batch}
        full = size + len(content) > BATCH_BYTES or len(batch) == BATCH_FILES
        if batch and (full or upload.source in names):
            yield batch
            batch, size = [], 0
        path = "" if upload.path is None else str(upload.path)
        batch.append(_File(upload.source, path, content))
        size += len(content)
    if batch:
        yield batch


def _nothing_but(source: str, error: GroundtuneError) -> Body:
    tally = Tally()
    tally.note(FileResult(source, "failed", error=error.message))
    return tally.body()


def _added(one: Body, other: Body) -> Body:
    """Return two tallies as one."""
    return {key: value + other[key] for key, value in one.items()}


def _error(response: httpx.Response) -> GroundtuneError:
    """Return the error of our tree that the server answered with."""
    try:
        said = response.json()["error"]
        code, message, hint = said["code"], said["message"], said["hint"]
    except (ValueError, KeyError, TypeError):
        code, message, hint = "", f"The server answered with status {response.status_code}.", ""
    kind = _kinds(GroundtuneError).get(code)
    if kind is None:
        kind = UsageError if response.is_client_error else GroundtuneError
    return kind(message, hint=hint)


def _kinds(kind: type[GroundtuneError]) -> dict[str, type[GroundtuneError]]:
    found = {kind.code: kind}
    for below in kind.__subclasses__():
        found |= _kinds(below)
    return found
