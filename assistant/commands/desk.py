"""Where a command works: in a workspace of its own, or through the server that owns it."""

from collections.abc import Iterator
from contextlib import contextmanager

from assistant.config import Settings
from assistant.local import LocalWorkspace
from assistant.ownership import Owner, own
from assistant.remote import RemoteWorkspace
from assistant.workspace import open_workspace

WAIT_S = 10.0  # another command on the same workspace is usually done by then


@contextmanager
def open_desk(settings: Settings, command: str) -> Iterator[LocalWorkspace | RemoteWorkspace]:
    """Open the workspace; while a server owns it, work through the server's HTTP API.

    Raises:
        ConflictError: another command holds the workspace, and went on for `WAIT_S` seconds.
    """
    with own(settings.home, command, wait_s=WAIT_S) as claim:
        if isinstance(claim, Owner):
            with RemoteWorkspace(str(claim.url), key=claim.key) as remote:
                yield remote
        else:
            with open_workspace(settings) as workspace:
                yield LocalWorkspace(workspace)
