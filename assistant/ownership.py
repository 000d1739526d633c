"""Ownership: one process at a time works on a workspace.

The index is for one process: what a second one wrote would stay invisible to the first. So whoever
works on a workspace holds `owner.lock`, and `owner.json` beside it says who that is. A server
writes its address there, so that a command can work through it instead.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ingest.errors import ConflictError, StoreError

LOCK = "owner.lock"
NOTE = "owner.json"
PATIENCE_S = 1.0  # between taking the lock and writing the note, an owner is nameless for a moment
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a workspace."""

    pid: int
    command: str
    url: str | None
    """Where it can be asked over HTTP; None if it is no server, or not ready yet."""
    key: str = ""
    """Opens the server to whoever can read this note; empty where it asks for no key."""


class Claim:
    """This process holds the workspace."""

    def __init__(self, home: Path, command: str) -> None:
        self._home = home
        self._command = command

    def announce(self, url: str | None, key: str = "") -> None:
        """Say where this process can be asked over HTTP, and with which key."""
        note = self._home / NOTE
        part = note.with_suffix(f".{os.getpid()}")
        owner = Owner(os.getpid(), self._command, url, key)
        part.touch(mode=0o600)
        part.write_text(json.dumps(asdict(owner)), encoding="utf-8")
        part.replace(note)


@contextmanager
def own(
    home: Path,
    command: str,
    url: str | None = None,
    *,
    wait_s: float = 0.0,
    on_wait: Callable[[str], None] = lambda who: None,
) -> Iterator[Claim | Owner]:
    """Hold the workspace at `home`, or name the server that does.

    Yields a `Claim` when the workspace is ours, or an `Owner` with a `url` to work through.

    Args:
        home: the workspace; made if it is not there.
        command: what others are told that we are doing.
        url: where we can be asked over HTTP, if that is known already.
        wait_s: seconds to wait for an owner that is no server to finish.
        on_wait: told once who is waited for.

    Raises:
        ConflictError: another process holds it and is no server; says which.
        StoreError: `home` cannot be written.
    """
    lock = FileLock(home / LOCK)
    try:
        home.mkdir(parents=True, exist_ok=True)
        server = _acquire(lock, home, wait_s, on_wait)
        if server is None:
            claim = Claim(home, command)
            claim.announce(url)
    except OSError as error:
        raise StoreError(f"The workspace {home} cannot be written: {error.strerror}.") from None
    if server is not None:
        yield server
        return
    try:
        yield claim
    finally:
        (home / NOTE).unlink(missing_ok=True)
        lock.release()


def _acquire(
    lock: FileLock, home: Path, wait_s: float, on_wait: Callable[[str], None]
) -> Owner | None:
    """Take the lock and return None, or return the server that holds it."""
    started = time.monotonic()
    told = False
    while True:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            owner = _read(home / NOTE)
        else:
            return None
        if owner is not None and owner.url is not None:
            return owner
        waited = time.monotonic() - started
        if waited >= (wait_s if owner is not None else max(wait_s, PATIENCE_S)):
            raise _conflict(home, owner)
        if owner is not None and not told:
            on_wait(_name(owner))
            told = True
        time.sleep(POLL_S)


def _conflict(home: Path, owner: Owner | None) -> ConflictError:
    if owner is None:
        who, hint = "Another process", "Wait until it has finished."
    else:
        who = _name(owner)
        hint = f"Wait until it has finished, or stop process {owner.pid}."
    return ConflictError(f"{who} works on the workspace {home}.", hint=hint)


def _name(owner: Owner) -> str:
    return f"`groundtune {owner.command}` (process {owner.pid})"


def _read(note: Path) -> Owner | None:
    """Return who the note names; None if it is not there or is left over from a dead process."""
    try:
        owner = Owner(**json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return owner if _lives(owner.pid) else None


def _lives(pid: int) -> bool:
    if os.name == "nt":
        return True  # asking there would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
