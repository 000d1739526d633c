"""What the HTTP service adds to retrieval and engine, and what it stands: on loopback, bounded.

Two servers run in processes of their own, over the sample company's index: one with an engine that
says six words at once, where the target is about the service and not about the model, and the one
that `groundtune serve` starts. Clients and server share the machine's cores. The whole takes less
than four minutes on two cores that do nothing else.
"""

import asyncio
import itertools
import multiprocessing
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
from scipy.stats import linregress

from assistant.config import Settings
from assistant.engines.engine import Engine, Message, Piece, Request, Usage
from assistant.workspace import Workspace
from ingest.files import find_files
from tests.bench.index import EXAMPLES, QUESTIONS
from tests.bench.ratio import seconds

ROUNDS = 200
CLIENTS, EACH = 200, 3
STREAMS = 64
REQUESTS, STEP, WARM = 10_000, 250, 2_000
"""Of the memory: requests, those between two looks, and those before the first one that counts."""
CONNECTIONS = 8
DIFFERENT = 500
"""Questions that are asked again and again: a memory of questions fills up, and then stays."""
STARTS = 3
LATE_S = 0.05
CONFIG = EXAMPLES / "groundtune.toml"
WORDS = "The collars go to 4.5 N.m."


class QuickEngine:
    """Answers at once, word by word."""

    name = "quick"
    context_tokens = 2048

    async def prompt_tokens(self, messages: Sequence[Message]) -> list[int]:
        """Count a word as a token."""
        return [0 for message in messages for _ in message.content.split()]

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        """Yield the words."""
        for word in WORDS.split():
            yield Piece(f"{word} ")
        yield Piece(usage=Usage(1, 6, "stop"))

    async def check(self) -> None:
        """It is always there."""

    def close(self) -> None:
        """There is nothing to let go of."""


class Beat(NamedTuple):
    """How long an answer of `/healthz` took, in seconds."""

    whole: float
    """As the client saw it."""
    own: float
    """Without the time in which the service's loop or the client waited for a free core."""


class QuickWorkspace(Workspace):
    """A workspace with real retrieval and the quick engine."""

    @cached_property
    def engine(self) -> Engine:
        """The quick one."""
        return QuickEngine()


def measure(settings: Settings) -> Iterator[str]:
    """Yield a line a target; `GROUNDTUNE_BENCH_SERVICE=start,streams` takes only some of them."""
    wanted = os.environ.get("GROUNDTUNE_BENCH_SERVICE", "").split(",")
    with tempfile.TemporaryDirectory() as folder:
        home = settings.model_copy(update={"home": Path(folder)})
        with Workspace(home) as workspace:
            workspace.pipeline.run(find_files([str(EXAMPLES / "documents")]), collection="default")
        for name, subject in SUBJECTS.items():
            if wanted == [""] or name in wanted:
                yield f"{name:<9}{subject(home)}"


def start(settings: Settings) -> str:
    """From the command to "is ready", with the sample index."""
    times = []
    for _ in range(STARTS):
        began = time.perf_counter()
        with served(settings):
            times.append(time.perf_counter() - began)
    return f"start to ready: {spread(times, 1, 's')}; target 8 s"


def added(settings: Settings) -> str:
    """What a request takes on top of what its own timings say, one request in flight."""
    with quick(settings) as url, httpx.Client(base_url=url) as client:
        parts = []
        for path, body, own in (
            ("/api/ask", {"mode": "rag"}, lambda answer: answer["timings_ms"]["total"]),
            ("/v1/chat/completions", {"model": "rag"}, _chat_total),
        ):
            times = [_added(client, path, body, own, n) for n in range(ROUNDS + 20)][20:]
            parts.append(f"{path} {spread(times, 1000, 'ms')}")
        pairs = []
        # One process has a folder's vectors at a time, so the library searches a copy.
        with (
            tempfile.TemporaryDirectory() as folder,
            Workspace(_copied(settings, Path(folder) / "home")) as workspace,
        ):
            for n in range(ROUNDS + 20):
                query = QUESTIONS[n % len(QUESTIONS)] + f" {n}"
                through = seconds(lambda q=query: client.post("/api/search", json={"query": q}))
                raw = seconds(lambda q=query: workspace.retriever.find(q + " again", k=6))
                pairs.append(through - raw)
        parts.append(f"/api/search {spread(pairs[20:], 1000, 'ms')}")
    return "added, 1 in flight: " + "; ".join(parts) + "; target 10 ms p50, 25 ms p95"


def _copied(settings: Settings, home: Path) -> Settings:
    shutil.copytree(settings.home, home)
    return settings.model_copy(update={"home": home})


def _chat_total(answer: dict[str, Any]) -> float:
    return float(answer["groundtune"]["timings_ms"]["total"])


def _added(
    client: httpx.Client, path: str, body: dict[str, Any], own: Callable[[Any], float], n: int
) -> float:
    question = QUESTIONS[n % len(QUESTIONS)] + f" {n}"
    filled = {**body, "question": question}
    if path.startswith("/v1"):
        filled = {**body, "messages": [{"role": "user", "content": question}]}
    began = time.perf_counter()
    answer = client.post(path, json=filled)
    took = time.perf_counter() - began
    return took - own(answer.raise_for_status().json()) / 1000


def crowd(settings: Settings) -> str:
    """Two hundred clients that search at the same time."""
    with quick(settings) as url:
        with httpx.Client(base_url=url) as client:
            alone = [
                seconds(lambda n=n: client.post("/api/search", json={"query": f"collar {n}"}))
                for n in range(100)
            ]
        times, codes = asyncio.run(_crowd(url))
    ideal = CLIENTS * statistics.median(alone)
    p95 = quantile(times, 0.95)
    return (
        f"{CLIENTS} clients, {len(times)} searches: {dict(codes)}, {spread(times, 1, 's')}; "
        f"ideal queue {ideal:.2f} s, p95 is {p95 / ideal:.2f} of it; target 3"
    )


async def _crowd(url: str) -> tuple[list[float], Counter[int]]:
    times: list[float] = []
    codes: Counter[int] = Counter()
    numbers = itertools.count()

    async def one() -> None:
        # Each has a connection of its own: a pool of two hundred is slower than the service.
        async with httpx.AsyncClient(base_url=url, timeout=120, verify=False) as client:
            for _ in range(EACH):
                began = time.perf_counter()
                query = f"{QUESTIONS[0]} {next(numbers)}"
                response = await client.post("/api/search", json={"query": query})
                times.append(time.perf_counter() - began)
                codes[response.status_code] += 1

    await asyncio.gather(*(one() for _ in range(CLIENTS)))
    return times, codes


def streams(settings: Settings) -> str:
    """Sixty-four streams at once, on the embedded engine, with room for all and for a few."""
    found = []
    for room in (STREAMS, 8):
        environment = {"GROUNDTUNE_ENGINE__QUEUE": str(room), "GROUNDTUNE_ANSWER__MAX_TOKENS": "4"}
        with served(settings, environment) as url, ThreadPoolExecutor(STREAMS) as pool:
            began = time.perf_counter()
            ends = Counter(pool.map(lambda n: _streamed(url, n), range(STREAMS)))
            took = time.perf_counter() - began
        found.append(f"queue {room}: {dict(ends)} in {took:.0f} s")
    return f"{STREAMS} streams, " + "; ".join(found)


def _streamed(url: str, number: int) -> str:
    question = f"{QUESTIONS[0]} ({number})"
    body = {"question": question, "mode": "rag", "top_k": 2, "stream": True}
    with httpx.stream("POST", f"{url}/api/ask", json=body, timeout=400) as response:
        lines = [line for line in response.iter_lines() if line.startswith("event: ")]
    if response.status_code == 200:
        return lines[-1].removeprefix("event: ")
    after = "with" if "retry-after" in response.headers else "WITHOUT"
    return f"{response.status_code} {after} Retry-After"


def memory(settings: Settings) -> str:
    """Resident memory over ten thousand requests: eight in ten search, one asks, one streams."""
    with quick(settings) as url:
        server = _server(url)
        crew = [server, *server.children(recursive=True)]
        sizes: list[float] = []
        asked = itertools.count(1)
        limits = httpx.Limits(max_connections=CONNECTIONS)

        def one(number: int) -> None:
            question = f"{QUESTIONS[number % len(QUESTIONS)]} {number % DIFFERENT}"
            ask = {"question": question, "mode": "rag", "stream": number % 10 == 1}
            path, body = (
                ("/api/ask", ask) if number % 10 < 2 else ("/api/search", {"query": question})
            )
            client.post(path, json=body).raise_for_status()
            if next(asked) % STEP == 0:
                sizes.append(sum(process.memory_info().rss for process in crew) / 1e6)

        with (
            httpx.Client(base_url=url, timeout=120, limits=limits) as client,
            ThreadPoolExecutor(CONNECTIONS) as pool,
        ):
            list(pool.map(one, range(REQUESTS)))
    flat = sizes[WARM // STEP :]
    line = linregress([STEP * number / 1000 for number in range(len(flat))], flat)
    shown = " ".join(f"{size:.0f}" for size in sizes[3::4])
    half = 1.96 * line.stderr
    low, high = (line.slope - half) * 1000, (line.slope + half) * 1000
    return (
        f"resident MB of {len(crew)} processes after each {4 * STEP} of {REQUESTS} requests: "
        f"{shown}; slope after the first {WARM}: {line.slope * 1000:+.0f} kB in 1,000 requests "
        f"({low:+.0f} to {high:+.0f}, n={len(flat)} looks)"
    )


def _server(url: str) -> psutil.Process:
    [server] = [p for p in psutil.Process().children() if _listens(p, url)]
    return server


def _listens(process: psutil.Process, url: str) -> bool:
    port = int(url.rpartition(":")[2])
    return any(c.laddr.port == port for c in process.net_connections() if c.laddr)


def health(settings: Settings) -> str:
    """`/healthz` while documents come in, questions are answered, and two processes compute."""
    with served(settings) as url, httpx.Client(base_url=url, timeout=60) as client:
        server = _server(url)
        documents = find_files([str(EXAMPLES / "documents")])
        files = [("files", (Path(one.source).name, one.content())) for one in documents]
        found = []
        for what, burners in (("uploads and answers", 0), ("and two computing processes", 2)):
            crew = [multiprocessing.Process(target=_burn, daemon=True) for _ in range(burners)]
            for process in crew:
                process.start()
            data = {"collection": f"c{burners}"}
            job = (
                client.post("/api/documents", files=files, data=data)
                .raise_for_status()
                .json()["job_id"]
            )
            with ThreadPoolExecutor(1) as pool:
                asked = pool.submit(_streamed, url, burners)
                beats = list(_beats(client, server.pid, job))
                asked.result()
            for process in crew:
                process.kill()
            late = sum(beat.own > LATE_S for beat in beats)
            found.append(
                f"{what}: {spread([beat.whole for beat in beats], 1000, 'ms')}, of which the "
                f"service's own {spread([beat.own for beat in beats], 1000, 'ms')}, {late} over "
                f"{LATE_S * 1000:.0f} ms"
            )
    return "healthz during " + "; ".join(found) + "; target 50 ms"


def _beats(client: httpx.Client, server: int, job: str) -> Iterator[Beat]:
    """Ask until a job has ended."""
    ours = threading.get_native_id()
    while True:
        for _ in range(20):
            before = _waited(server, server) + _waited(os.getpid(), ours)
            whole = seconds(lambda: client.get("/healthz"))
            waited = _waited(server, server) + _waited(os.getpid(), ours) - before
            yield Beat(whole, max(0.0, whole - waited))
            time.sleep(0.01)
        if client.get(f"/api/jobs/{job}").json()["finished"] is not None:
            return


def _waited(process: int, thread: int) -> float:
    """Return the seconds that a thread could have run in and had no core; Linux counts them.

    The first thread of a server runs its loop.
    """
    path = Path(f"/proc/{process}/task/{thread}/schedstat")
    return int(path.read_text(encoding="ascii").split()[1]) / 1e9


def _burn() -> None:
    while True:
        sum(range(100_000))


@contextmanager
def served(settings: Settings, environment: dict[str, str] | None = None) -> Iterator[str]:
    """Run `groundtune serve`; yields its address once it is ready."""
    command = [sys.executable, "-m", "assistant.cli", "--config", str(CONFIG), "serve"]
    home = {"GROUNDTUNE_HOME": str(settings.home), **(environment or {})}
    with _announced([*command, "--port", "0"], home) as url:
        yield url


@contextmanager
def quick(settings: Settings) -> Iterator[str]:
    """Run the service with the quick engine; yields its address once it is ready."""
    command = [sys.executable, "-c", "from tests.bench.service import run; run()"]
    with _announced(command, {"GROUNDTUNE_HOME": str(settings.home)}) as url:
        yield url


@contextmanager
def _announced(command: Sequence[str], environment: dict[str, str]) -> Iterator[str]:
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if found := re.search(r"is ready at (http://\S+)", line):
                    break
            else:
                raise RuntimeError("the service does not start")
            drain = ThreadPoolExecutor(1)
            drain.submit(lambda: [None for _ in process.stderr or ()])
            yield found[1]
        finally:
            process.terminate()
            process.wait()
            drain.shutdown()


def run() -> None:
    """Be the service with the quick engine."""
    import socket

    import uvicorn

    from assistant.api.app import create_app
    from assistant.api.protocol import HurriedProtocol
    from assistant.api.server import SWITCH_S, Server
    from assistant.config import load
    from assistant.pauses import settle

    settings = load(CONFIG).settings
    sys.setswitchinterval(SWITCH_S)
    app = create_app(QuickWorkspace(settings, serving=True))
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def ready() -> None:
            settle()
            sys.stderr.write(f"is ready at {url}\n")
            sys.stderr.flush()

        config = uvicorn.Config(app, http=HurriedProtocol, log_level="warning", access_log=False)
        Server(config, ready, 1).run(sockets=[listener])


def quantile(values: Sequence[float], part: float) -> float:
    """Return the value below which `part` of them lie."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def spread(values: Sequence[float], scale: float, unit: str) -> str:
    """Return median, 95th percentile, range and number."""
    p50, p95 = quantile(values, 0.5) * scale, quantile(values, 0.95) * scale
    low, high = min(values) * scale, max(values) * scale
    return f"p50 {p50:.2f} p95 {p95:.2f} {unit} ({low:.2f} to {high:.2f}, n={len(values)})"


SUBJECTS: dict[str, Callable[[Settings], str]] = {
    "start": start,
    "added": added,
    "crowd": crowd,
    "health": health,
    "streams": streams,
    "memory": memory,
}
