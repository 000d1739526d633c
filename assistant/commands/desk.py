"""Where a command works: in a workspace of its own, or through the server that owns it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from assistant.config import Settings
from assistant.local import LocalWorkspace
from assistant.ownership import Owner, own
from assistant.remote import RemoteWorkspace
from assistant.workspace import open_workspace

WAIT_S = 10.0  # another command on the same workspace is usually done by then


@contextmanager
def open_desk(
    settings: Settings,
    command: str,
    *,
    wait_s: float = WAIT_S,
    on_wait: Callable[[str], None] = lambda who: None,
) -> Iterator[LocalWorkspace | RemoteWorkspace]:
    """Open the workspace; while a server owns it, work through the server's HTTP API.

    `on_wait` is told who holds the workspace, if that has to be waited for.

    Raises:
        ConflictError: another command holds the workspace, and went on for `wait_s` seconds.
    """
    with own(settings.home, command, wait_s=wait_s, on_wait=on_wait) as claim:
        if isinstance(claim, Owner):
            with RemoteWorkspace(str(claim.url), key=claim.key) as remote:
                yield remote
        else:
            with open_workspace(settings) as workspace:
                yield LocalWorkspace(workspace)
