"""Making tables where several processes may open a new database at the same time."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, MetaData, inspect, text

LOCK = 7_420_611
"""The advisory lock of whoever makes or changes tables in PostgreSQL."""
BEGIN = {"sqlite": "BEGIN IMMEDIATE", "postgresql": f"SELECT pg_advisory_xact_lock({LOCK})"}
"""SQLAlchemy asks which tables there are and makes the others: someone may do so in between."""


@contextmanager
def making_tables(engine: Engine) -> Iterator[Connection]:
    """Yield a transaction; others who make tables wait until the block has ended."""
    with engine.begin() as connection:
        connection.execute(text(BEGIN[engine.dialect.name]))
        yield connection


def make_tables(engine: Engine, metadata: MetaData) -> None:
    """Make those that are missing; where none is, nobody is kept waiting."""
    if metadata.tables.keys() - set(inspect(engine).get_table_names()):
        with making_tables(engine) as connection:
            metadata.create_all(connection)
