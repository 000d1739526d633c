"""A real PostgreSQL for the tests: a cluster of our own that is thrown away."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

from tests.ports import free_port

MISSING = "no PostgreSQL: install it (apt-get install postgresql)"
PASSWORD = "s3cret-word"


def find_binaries() -> Path | None:
    """Return the folder of `initdb` and `pg_ctl`: from PATH, or where Debian keeps them."""
    found = shutil.which("initdb")
    folders = [] if found is None else [Path(found).resolve().parent]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((f for f in folders if (f / "initdb").exists() and (f / "pg_ctl").exists()), None)


@contextmanager
def started(binaries: Path) -> Iterator[str]:
    """Run a cluster in a new folder and yield the address of its first database."""
    with tempfile.TemporaryDirectory(prefix="groundtune-") as folder:
        yield from _run(binaries, Path(folder))


def _run(binaries: Path, folder: Path) -> Iterator[str]:
    user = _user()  # PostgreSQL refuses to run as root
    if user is not None:
        shutil.chown(folder, user)
    secret = folder / "password"
    secret.write_text(PASSWORD, encoding="utf-8")
    if user is not None:
        shutil.chown(secret, user)
    data, port = folder / "data", free_port()

    def run(program: str, *arguments: str) -> None:
        log = folder / "run.log"
        with log.open("ab") as output:
            done = subprocess.run(
                [str(binaries / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                user=user,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"{program}: {log.read_text(errors='replace')[-2000:]}")

    run(
        "initdb", "-D", str(data), "-U", "tester", "-A", "scram-sha-256", "--pwfile", str(secret),
        "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync",
    )  # fmt: skip
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
    run("pg_ctl", "-D", str(data), "-w", "-o", options, "-l", str(folder / "server.log"), "start")
    try:
        yield f"postgresql://tester:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")


def empty(url: str) -> None:
    """Throw away all that lies in a database."""
    engine = create_engine(url.replace("postgresql", "postgresql+pg8000", 1))
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


def _user() -> str | None:
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"
