import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from assistant.commands import keys as command
from assistant.config import Settings
from assistant.keys import Keys
from ingest.errors import NotFoundError, UsageError


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'state.sqlite'}")
    yield engine
    engine.dispose()


def run(home: Path, *arguments: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments), Settings(home=home))


def test_a_key_opens_what_it_was_made_for(database: Engine) -> None:
    keys = Keys(database)
    key, shown = keys.create("anna", roles=["ask"], collections=["manuals"])
    access = keys.access(shown)
    assert access is not None
    assert access.key == key.id
    assert access.may("ask")
    assert not access.may("ingest")
    assert access.sees("manuals")
    assert not access.sees("default")
    assert access.home == "manuals"


def test_an_admin_may_do_all_and_an_unbound_key_sees_all(database: Engine) -> None:
    keys = Keys(database)
    access = keys.access(keys.create("root", roles=["admin"], collections=None)[1])
    assert access is not None
    assert all(access.may(role) for role in ("ask", "ingest", "admin"))
    assert access.sees("anything")


def test_no_text_but_the_key_opens_anything(database: Engine) -> None:
    keys = Keys(database)
    _, shown = keys.create("anna", roles=["ask"], collections=None)
    _, other = keys.create("bert", roles=["ask"], collections=None)
    start, secret = shown[:16], shown[16:]
    wrong = [
        "", "gt_", shown[:-1], shown + "A", shown.upper(), f" {shown}", f"{shown}\n", start,
        secret, start + other[16:], start + "A" * 43, "gt_000000000000_" + secret,
    ]  # fmt: skip
    assert [keys.access(text) for text in wrong] == [None] * len(wrong)


def test_the_database_does_not_hold_the_key(database: Engine, tmp_path: Path) -> None:
    _, shown = Keys(database).create("anna", roles=["ask"], collections=None)
    database.dispose()
    assert shown[16:].encode() not in (tmp_path / "state.sqlite").read_bytes()


def test_two_keys_of_one_name_share_nothing(database: Engine) -> None:
    keys = Keys(database)
    keys.create("anna", roles=["ask"], collections=None)
    keys.create("anna", roles=["ask"], collections=None)
    with database.connect() as connection:
        rows = connection.execute(text("SELECT id, salt, digest FROM access_keys")).all()
    assert all(len(set(column)) == 2 for column in zip(*rows, strict=True))


def test_a_revoked_key_opens_nothing_and_stays_listed(database: Engine) -> None:
    keys = Keys(database, now=lambda: 5.0)
    key, shown = keys.create("anna", roles=["ask"], collections=None)
    assert keys.any()
    assert keys.revoke(key.id).revoked == 5.0
    assert keys.access(shown) is None
    assert not keys.any()
    assert [k.revoked for k in keys.list()] == [5.0]
    with pytest.raises(NotFoundError, match="no live key"):
        keys.revoke(key.id)


def test_a_key_needs_a_name_and_a_role(database: Engine) -> None:
    keys = Keys(database)
    with pytest.raises(UsageError, match="cannot name a key"):
        keys.create("a\nb", roles=["ask"], collections=None)
    for roles in ([], ["king"]):
        with pytest.raises(UsageError, match="ask, ingest, admin"):
            keys.create("anna", roles=roles, collections=None)


def test_the_command_makes_lists_and_ends_keys_and_the_log_says_so(tmp_path: Path) -> None:
    made = run(tmp_path, "create", "anna", "--role", "ingest", "--collection", "manuals")
    assert made["key"] in command.render(made)
    assert (made["roles"], made["collections"]) == (["ingest"], ["manuals"])
    listed = run(tmp_path, "list")
    assert made["key"] not in command.render(listed)
    assert "anna  ingest in manuals" in command.render(listed)
    assert "Revoked" in command.render(run(tmp_path, "revoke", made["id"]))
    assert "revoked" in command.render(run(tmp_path, "list"))
    log = run(tmp_path, "audit")
    assert [line["action"] for line in log["lines"]] == ["key.create", "key.revoke"]
    assert f"this machine  key.revoke {made['id']}" in command.render(log)


def test_a_collection_that_cannot_be_is_not_bound(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot name a collection"):
        run(tmp_path, "create", "anna", "--collection", "../x")
