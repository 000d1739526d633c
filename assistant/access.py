"""Access: what somebody may do, and in which collections."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from ingest.errors import ForbiddenError

Role = Literal["ask", "ingest", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Access:
    """What a caller may do."""

    key: str
    """The id of the key that was shown; empty for this machine's own user."""
    roles: frozenset[str]
    """`admin` may do what the others may."""
    collections: frozenset[str] | None = None
    """The collections that it is bound to; None is all, and those to come."""

    def may(self, role: Role) -> bool:
        """Return whether `role` is among its roles."""
        return role in self.roles or "admin" in self.roles

    def need(self, role: Role) -> None:
        """Refuse where `role` is missing.

        Raises:
            ForbiddenError: says which role is needed.
        """
        if not self.may(role):
            raise ForbiddenError(
                f"This key may not do that; it takes the role {role!r}.",
                hint=f"groundtune keys create NAME --role {role}",
            )

    def sees(self, collection: str) -> bool:
        """Return whether `collection` is one of its own."""
        return self.collections is None or collection in self.collections

    def seen(self, collections: Iterable[str]) -> list[str]:
        """Return those of `collections` that are its own."""
        return [name for name in collections if self.sees(name)]

    @property
    def home(self) -> str:
        """The collection that is meant where none is named."""
        if self.collections is None or "default" in self.collections:
            return "default"
        return min(self.collections)


OWNER = Access("", frozenset(ROLES))
"""Whoever may read the workspace's files may do everything with it."""
