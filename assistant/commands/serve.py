"""`groundtune serve`: the HTTP service and the web page."""

import argparse
import errno
import ipaddress
import secrets
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from assistant.backup import clear
from assistant.config import Settings
from assistant.gguf_file import resolve_gguf
from assistant.intake import recover
from assistant.jobs import Jobs
from assistant.keys import Keys
from assistant.ownership import Owner, own
from assistant.uploads import Uploads
from assistant.workspace import open_workspace
from ingest.errors import ConflictError, UsageError
from ingest.model_file import resolve

GRACE_S = 10.0
MOST_WORKERS = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; others than this machine's own "
        "need access keys (default: 127.0.0.1)",
    )
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0 takes any")
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        help="processes that serve together; several need the vectors on a server (default: 1)",
    )
    parser.add_argument(
        "--grace",
        type=float,
        default=GRACE_S,
        metavar="SECONDS",
        help="how long open answers may go on once it is told to stop (default: %(default)g)",
    )
    parser.set_defaults(beside=None)  # the command line sets it


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Serve until interrupted; return the address that was served.

    Raises:
        UsageError: the host or the port is none, or others can reach it and there is no key.
        MissingModelError: a model is not on this machine yet.
        ConflictError: the port is taken, or another process works on the workspace.
    """
    public = _check_address(args.host, args.port)
    _check_workers(args.workers, args.grace, settings)
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
            from assistant.api.server import Place, serve_alone, serve_together

            port = listener.getsockname()[1]
            url = _url(args.host, port)

            def ready() -> None:
                # A wildcard is where to listen, not where to ask.
                anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
                claim.announce(_url(anywhere.get(args.host, args.host), port), own_key)
                sys.stderr.write(f"Groundtune is ready at {url} (Ctrl-C stops it)\n")
                sys.stderr.flush()

            place = Place(args.host, public, own_key, args.grace)
            evaluate = None if args.beside is None else partial(_evaluator, args.beside)
            if args.workers == 1:
                serve_alone(settings, place, listener, ready, evaluate)
            else:
                _put_right(settings)
                serve_together(settings, place, listener, ready, evaluate, workers=args.workers)
    return {"url": url, "stopped": True}


def render(result: dict[str, Any]) -> str:
    """Return the result in words."""
    return f"Stopped serving at {result['url']}."


def _evaluator(beside: Callable[[], Any]) -> Any:
    """Load what compares the arms; it is heavy, and seldom wanted."""
    return beside().evaluate_served


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


def _check_workers(workers: int, grace_s: float, settings: Settings) -> None:
    if not 1 <= workers <= MOST_WORKERS:
        raise UsageError(f"--workers {workers}: there can be 1 to {MOST_WORKERS}.")
    if not 0 <= grace_s <= 3600:
        raise UsageError(f"--grace {grace_s:g}: it is 0 to 3600 seconds.")
    kind, _, url = settings.store.vectors.partition(":")
    if workers > 1 and not url:
        raise UsageError(
            f"--workers {workers}: the vectors are in a folder ({kind}), which is for one process: "
            "what one worker wrote, the others would not see.",
            hint="Run `chroma run --port 8002`, then: groundtune index copy "
            f"{settings.store.vectors} chroma:http://127.0.0.1:8002",
        )


def _put_right(settings: Settings) -> None:
    """Do what only one process may, before there are several."""
    with open_workspace(settings) as workspace:
        workspace.index  # noqa: B018  # repairs what a killed process left
        recover(Jobs(workspace.registry.engine), Uploads(workspace.home / "uploads"))
    clear(settings.home)


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
