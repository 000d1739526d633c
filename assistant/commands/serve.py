"""`groundtune serve`: the HTTP service and the web page."""

import argparse
import errno
import ipaddress
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from assistant.config import Settings
from assistant.gguf_file import resolve_gguf
from assistant.ownership import Owner, own
from ingest.errors import ConflictError, UsageError
from ingest.model_file import resolve

GOODBYE_S = 5  # how long open streams may go on after Ctrl-C


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (this machine's)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0 takes any")


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Serve until interrupted; return the address that was served.

    Raises:
        UsageError: the host is not this machine, or the port is no port.
        MissingModelError: a model is not on this machine yet.
        ConflictError: the port is taken, or another process works on the workspace.
    """
    _check_address(args.host, args.port)
    resolve_gguf(settings.engine.model)
    resolve(settings.embedding.model)
    with own(settings.home, "serve") as claim:
        if isinstance(claim, Owner):
            raise ConflictError(
                f"This workspace is served already, at {claim.url} (process {claim.pid}).",
                hint="Use that one, or stop it first.",
            )
        with _listen(args.host, args.port) as listener:
            name = f"[{args.host}]" if ":" in args.host else args.host
            url = f"http://{name}:{listener.getsockname()[1]}"

            def ready() -> None:
                claim.announce(url)
                sys.stderr.write(f"Groundtune is ready at {url} (Ctrl-C stops it)\n")
                sys.stderr.flush()

            _serve(settings, args.host, listener, ready)
    return {"url": url, "stopped": True}


def render(result: dict[str, Any]) -> str:
    """Return the result in words."""
    return f"Stopped serving at {result['url']}."


def _check_address(host: str, port: int) -> None:
    if not 0 <= port <= 65535:
        raise UsageError(f"{port} is not a port; ports go from 0 to 65535.")
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise UsageError(
            f"{host} can be reached by others, and this service has no access keys yet.",
            hint="Use --host 127.0.0.1, and a tunnel or an authenticating proxy for others.",
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConflictError(
                f"Port {port} is taken by another program.",
                hint=f"groundtune serve --port {port + 1 if port < 65535 else 0}",
            ) from None
        raise UsageError(f"Cannot listen on {host}:{port}: {error.strerror}.") from None


def _serve(
    settings: Settings, host: str, listener: socket.socket, ready: Callable[[], None]
) -> None:
    import uvicorn

    from assistant.api.app import create_app
    from assistant.api.guard import LOOPBACK_HOSTS
    from assistant.workspace import open_workspace

    class Server(uvicorn.Server):
        """Says when it is ready."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready()

    workspace = open_workspace(settings)
    try:
        workspace.assistant  # noqa: B018  # what cannot be loaded is better said before serving
        app = create_app(workspace, hosts=LOOPBACK_HOSTS | {host})
        # Nothing may write to stdout but the result: access logs would.
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=GOODBYE_S
        )
        # The server raises the signal that ended it again, once it has shut down.
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            pass
        finally:
            signal.signal(signal.SIGTERM, before)
    finally:
        workspace.close()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
