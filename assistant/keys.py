"""Access keys: made once, shown once, kept as digests.

A key carries 256 random bits. Nobody can search through that many, so a slow hash, which makes up
for what passwords lack, would add nothing but load on every request: HMAC-SHA-256 with a salt of
the key's own is enough to make a stolen state database useless.
"""

import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Engine, Float, MetaData, String, Table, Text, insert, select, update

from assistant.access import ROLES, Access
from ingest.errors import NotFoundError, UsageError
from ingest.stores.tables import make_tables

METADATA = MetaData()
KEYS = Table(
    "access_keys",
    METADATA,
    Column("id", String(12), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("salt", String(32), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("roles", Text, nullable=False),
    Column("collections", Text),
    Column("created", Float, nullable=False),
    Column("revoked", Float),
)
NAME = re.compile(r"[\w .@-]{1,64}")
FORM = re.compile(r"gt_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
"""A key: its id, by which it is found and listed, and its secret."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is listed, without its secret."""

    id: str
    name: str
    roles: tuple[str, ...]
    collections: tuple[str, ...] | None
    """None is all."""
    created: float
    """Seconds since 1970, UTC."""
    revoked: float | None

    def body(self) -> dict[str, Any]:
        """Return the key as `groundtune keys list --json` shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "roles": list(self.roles),
            "collections": None if self.collections is None else list(self.collections),
            "created": self.created,
            "revoked": self.revoked,
        }


class Keys:
    """The keys of a workspace, in its state database."""

    def __init__(self, engine: Engine, now: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._now = now
        make_tables(engine, METADATA)

    def create(
        self, name: str, *, roles: Collection[str], collections: Collection[str] | None
    ) -> tuple[Key, str]:
        """Make a key; return it with the text to hand out, which cannot be shown again.

        Raises:
            UsageError: the name or a role is none, or there are no roles.
        """
        if not NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot name a key; use up to 64 letters and digits.")
        if not roles or set(roles) - set(ROLES):
            raise UsageError(f"{', '.join(roles) or 'Nothing'}: roles are {', '.join(ROLES)}.")
        key_id, secret, salt = (
            secrets.token_hex(6),
            secrets.token_urlsafe(32),
            secrets.token_hex(16),
        )
        row = {
            "id": key_id,
            "name": name,
            "salt": salt,
            "digest": _digest(salt, secret),
            "roles": json.dumps(sorted(set(roles))),
            "collections": None if collections is None else json.dumps(sorted(set(collections))),
            "created": self._now(),
        }
        with self._engine.begin() as connection:
            connection.execute(insert(KEYS).values(**row))
        return _key({**row, "revoked": None}), f"gt_{key_id}_{secret}"

    def list(self) -> list[Key]:
        """Return all keys, oldest first, the revoked ones too."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(KEYS).order_by(KEYS.c.created, KEYS.c.id)).mappings()
            return [_key(row) for row in rows]

    def revoke(self, key_id: str) -> Key:
        """End a key; the next request with it is refused.

        Raises:
            NotFoundError: there is no such key, or it is revoked already.
        """
        live = (KEYS.c.id == key_id) & KEYS.c.revoked.is_(None)
        with self._engine.begin() as connection:
            changed = connection.execute(update(KEYS).where(live).values(revoked=self._now()))
            if not changed.rowcount:
                raise NotFoundError(
                    f"There is no live key {key_id!r}.", hint="groundtune keys list"
                )
            row = connection.execute(select(KEYS).where(KEYS.c.id == key_id)).mappings().one()
        return _key(row)

    def any(self) -> bool:
        """Return whether there is a live key."""
        query = select(KEYS.c.id).where(KEYS.c.revoked.is_(None)).limit(1)
        with self._engine.connect() as connection:
            return connection.execute(query).first() is not None

    def access(self, text: str) -> Access | None:
        """Return what `text` opens; None where it is no live key.

        The time it takes does not tell how much of a key was right.
        """
        form = FORM.fullmatch(text)
        if form is None:
            return None
        live = (KEYS.c.id == form[1]) & KEYS.c.revoked.is_(None)
        with self._engine.connect() as connection:
            row = connection.execute(select(KEYS).where(live)).mappings().first()
        salt, digest = (row["salt"], row["digest"]) if row is not None else ("", "")
        right = hmac.compare_digest(_digest(salt, form[2]), digest)
        if row is None or not right:
            return None
        key = _key(row)
        bound = None if key.collections is None else frozenset(key.collections)
        return Access(key.id, frozenset(key.roles), bound)


def _digest(salt: str, secret: str) -> str:
    return hmac.new(salt.encode(), secret.encode(), hashlib.sha256).hexdigest()


def _key(row: Any) -> Key:
    collections = row["collections"]
    return Key(
        id=row["id"],
        name=row["name"],
        roles=tuple(json.loads(row["roles"])),
        collections=None if collections is None else tuple(json.loads(collections)),
        created=row["created"],
        revoked=row["revoked"],
    )
