"""`groundtune keys create|list|revoke|audit`: who may use the service, and what they did."""

import argparse
from datetime import UTC, datetime
from typing import Any

from assistant.access import ROLES
from assistant.audit import Audit
from assistant.config import Settings
from assistant.keys import Keys
from assistant.uploads import check_collection_name
from assistant.workspace import open_workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a key, which is shown once")
    create.add_argument("name", metavar="NAME", help="whose it is")
    create.add_argument(
        "--role", action="append", choices=ROLES, help="may be repeated (default: ask)"
    )
    create.add_argument(
        "--collection", action="append", help="bind it to this one; may be repeated (default: all)"
    )
    actions.add_parser("list", help="all keys, the revoked ones too")
    revoke = actions.add_parser("revoke", help="end a key at once")
    revoke.add_argument("id", metavar="ID", help="as `keys list` shows it")
    audit = actions.add_parser("audit", help="who took in, deleted, promoted or opened what")
    audit.add_argument("--last", type=int, default=100, help="lines to show")


def run(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Make, list or revoke keys, or show the audit log; a running service sees it at once.

    Raises:
        UsageError: no name, role or collection for a key.
        NotFoundError: there is no such key.
    """
    with open_workspace(settings) as workspace:
        keys = Keys(workspace.registry.engine)
        audit = Audit(workspace.registry.engine)
        if args.action == "create":
            bound = args.collection and [check_collection_name(name) for name in args.collection]
            key, text = keys.create(args.name, roles=args.role or ["ask"], collections=bound)
            audit.note("key.create", key.id)
            return {"key": text, **key.body()}
        if args.action == "revoke":
            key = keys.revoke(args.id)
            audit.note("key.revoke", key.id)
            return key.body()
        if args.action == "audit":
            return {"lines": audit.lines(last=args.last)}
        return {"keys": [key.body() for key in keys.list()]}


def render(result: dict[str, Any]) -> str:
    """Return what a person reads."""
    if "lines" in result:
        return "\n".join(_audited(line) for line in result["lines"]) or "Nothing yet."
    if "keys" in result:
        listed = "\n".join(_listed(key) for key in result["keys"])
        return listed or "No keys yet. Make one: groundtune keys create NAME"
    if "key" in result:
        return f"{_listed(result)}\n\n{result['key']}\n\nKeep it now: it is not shown again."
    return f"Revoked {result['id']} ({result['name']})."


def _listed(key: dict[str, Any]) -> str:
    where = "all collections" if key["collections"] is None else ", ".join(key["collections"])
    state = f"  revoked {_day(key['revoked'])}" if key["revoked"] else ""
    return f"{key['id']}  {key['name']}  {', '.join(key['roles'])} in {where}{state}"


def _audited(line: dict[str, Any]) -> str:
    who = line["key"] or "this machine"
    where = f" in {line['collection']}" if line["collection"] else ""
    return f"{_day(line['at'])}  {who}  {line['action']} {line['subject']}{where}"


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
