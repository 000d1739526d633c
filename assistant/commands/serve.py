"""`groundtune serve`: the HTTP service and the web page."""

import argparse
import errno
import ipaddress
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

from assistant import logs
from assistant.config import Settings
from assistant.gguf_file import resolve_gguf
from assistant.keys import Keys
from assistant.ownership import Owner, own
from assistant.workspace import open_workspace
from ingest.errors import ConflictError, UsageError
from ingest.model_file import resolve

GOODBYE_S = 5  # how long open streams may go on after Ctrl-C


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; others than this machine's own "
        "need access keys (default: 127.0.0.1)",
    )
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0 takes any")


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Serve until interrupted; return the address that was served.

    Raises:
        UsageError: the host or the port is none, or others can reach it and there is no key.
        MissingModelError: a model is not on this machine yet.
        ConflictError: the port is taken, or another process works on the workspace.
    """
    public = _check_address(args.host, args.port)
    resolve_gguf(settings.engine.model)
    resolve(settings.embedding.model)
    with own(settings.home, "serve") as claim:
        if isinstance(claim, Owner):
            raise ConflictError(
                f"This workspace is served already, at {claim.url} (process {claim.pid}).",
                hint="Use that one, or stop it first.",
            )
        if public:
            _check_keys(settings, args.host)
        own_key = secrets.token_urlsafe(32) if public or settings.security.require_key else ""
        with _listen(args.host, args.port) as listener:
            port = listener.getsockname()[1]
            url = _url(args.host, port)

            def ready() -> None:
                # A wildcard is where to listen, not where to ask.
                anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
                claim.announce(_url(anywhere.get(args.host, args.host), port), own_key)
                sys.stderr.write(f"Groundtune is ready at {url} (Ctrl-C stops it)\n")
                sys.stderr.flush()

            _serve(settings, Place(args.host, public, own_key), listener, ready, _evaluator(args))
    return {"url": url, "stopped": True}


def render(result: dict[str, Any]) -> str:
    """Return the result in words."""
    return f"Stopped serving at {result['url']}."


class Place(NamedTuple):
    """Where a service can be asked, and by whom."""

    host: str
    public: bool
    """Whether others than this machine can reach it."""
    own_key: str
    """What commands of this machine show it."""


def _evaluator(args: argparse.Namespace) -> Callable[[], Any]:
    """Return what loads the module that compares the arms; it is heavy, and seldom wanted."""

    def load() -> Any:
        return args.beside().evaluate_served

    return load


def _check_address(host: str, port: int) -> bool:
    """Return whether others than this machine can reach `host`."""
    if not 0 <= port <= 65535:
        raise UsageError(f"{port} is not a port; ports go from 0 to 65535.")
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise UsageError(
            f"{host!r} is not an address to listen on.",
            hint="Use 127.0.0.1 or 0.0.0.0, and put names into security.hosts.",
        ) from None


def _check_keys(settings: Settings, host: str) -> None:
    with open_workspace(settings) as workspace:
        if not Keys(workspace.registry.engine).any():
            raise UsageError(
                f"{host} can be reached by others, and there is no access key yet.",
                hint="groundtune keys create NAME --role admin",
            )


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


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
    settings: Settings,
    place: Place,
    listener: socket.socket,
    ready: Callable[[], None],
    evaluate: Callable[[], Any],
) -> None:
    import uvicorn

    from assistant.api.app import create_app
    from assistant.api.guard import HEADER_BYTES, LOOPBACK_HOSTS
    from assistant.api.protocol import HurriedProtocol
    from assistant.api.traces import tracer_of

    logs.configure(settings.logs.format, details=settings.logs.details)

    class Server(uvicorn.Server):
        """Says when it is ready."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready()

    workspace = open_workspace(settings)
    try:
        workspace.assistant  # noqa: B018  # what cannot be loaded is better said before serving
        app = create_app(
            workspace,
            hosts=LOOPBACK_HOSTS | {place.host},
            public=place.public,
            own_key=place.own_key,
            tracer=tracer_of(os.environ),
            evaluate=evaluate,
        )
        # Nothing may write to stdout but the result: access logs would.
        config = uvicorn.Config(
            app,
            http=HurriedProtocol,
            h11_max_incomplete_event_size=HEADER_BYTES,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # a header must not say who is asking
            server_header=False,
            timeout_graceful_shutdown=GOODBYE_S,
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
