"""Evaluations that a service runs beside its other work, as jobs.

One runs at a time, in all processes that serve a workspace together: who runs one holds
`evaluation.lock`.

What compares the arms lies in `eval`, which this package does not import; whoever starts the
service passes it in.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from filelock import FileLock, Timeout

from assistant.jobs import Job, Jobs
from assistant.pauses import loading
from assistant.workspace import Workspace
from ingest.errors import ConflictError, GroundtuneError, MissingExtraError

LOCK = "evaluation.lock"

log = logging.getLogger(__name__)

ArmName = Literal["base", "rag", "finetuned", "combined", "rag_examples", "rag_schema"]
ARMS: tuple[ArmName, ...] = get_args(ArmName)
"""The standard arms of `eval`, by name."""


@dataclass(frozen=True, slots=True)
class Order:
    """What shall be compared."""

    questions: Sequence[Mapping[str, Any]]
    """As lines of a file of questions."""
    arms: Sequence[str] | None
    """Some of `ARMS`; None compares all of them that the workspace can carry out."""
    collection: str
    limit: int | None = None
    adapter: str | None = None

    @property
    def answers(self) -> int:
        """How many are wanted at most; the run knows which arms and questions there are."""
        asked = len(self.questions) if self.limit is None else min(self.limit, len(self.questions))
        return asked * len(ARMS if self.arms is None else self.arms)


class Evaluate(Protocol):
    """Compares the arms and writes a report."""

    def __call__(
        self,
        workspace: Workspace,
        order: Order,
        *,
        loop: asyncio.AbstractEventLoop,
        on_answer: Callable[[int, int], None],
    ) -> Mapping[str, Any]:
        """Return `report`, the report's name, `sentences` and `unanswered`.

        `loop` is the one that the model belongs to; `on_answer` gets how many answers there are,
        and of how many, and ends the work by raising.
        """
        ...


class StoppedError(Exception):
    """The service ends before the evaluation."""


class Evaluations:
    """Starts evaluations and keeps their jobs up to date."""

    def __init__(
        self, workspace: Workspace, jobs: Jobs, load: Callable[[], Evaluate] | None
    ) -> None:
        """Take what evaluates; `load` is called when it is first needed, None where there is none.

        Its answers stay in the workspace, so an evaluation that was stopped goes on where it was.
        """
        self._workspace = workspace
        self._jobs = jobs
        self._load = load
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, order: Order, loop: asyncio.AbstractEventLoop) -> Job:
        """Begin; return the job.

        Raises:
            MissingExtraError: what evaluates is not installed.
            ConflictError: another evaluation is running.
        """
        if self._load is None:
            raise MissingExtraError(
                "This service was started without evaluation.",
                hint="groundtune serve has it; or: groundtune eval run CONFIG.toml",
            )
        with loading():
            evaluate = self._load()
        # A lock of its own: one lock object lets every thread of its process in at once.
        one = FileLock(self._workspace.home / LOCK, thread_local=False)
        try:
            one.acquire(timeout=0)
        except Timeout:
            raise ConflictError(
                "An evaluation is running already.", hint="Start the next one when it has ended."
            ) from None
        with ExitStack() as unstarted:
            unstarted.callback(one.release)
            job = self._jobs.add(order.collection, total=order.answers)
            self._thread = threading.Thread(
                target=self._run,
                args=(evaluate, order, job, loop, one),
                name="evaluation",
                daemon=True,
            )
            self._thread.start()
            unstarted.pop_all()  # the thread gives it back
        return job

    def stop(self) -> None:
        """End after the answers that are being given."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(
        self,
        evaluate: Evaluate,
        order: Order,
        job: Job,
        loop: asyncio.AbstractEventLoop,
        one: FileLock,
    ) -> None:
        def on_answer(done: int, total: int) -> None:
            if self._stopping.is_set():
                raise StoppedError
            self._jobs.progress(job.id, done=done, total=total, current=None)

        try:
            result = evaluate(self._workspace, order, loop=loop, on_answer=on_answer)
        except* StoppedError:
            self._jobs.fail(job.id, "interrupted")
        except* GroundtuneError as group:
            self._jobs.fail(job.id, "; ".join(_messages(group)))
        except* Exception:  # the edge of this thread
            log.exception("evaluation %s broke off", job.id)
            self._jobs.fail(job.id, "Something went wrong on our side; the log has more.")
        else:
            self._jobs.finish(job.id, result=result)
        finally:
            one.release()


def _messages(group: BaseExceptionGroup[GroundtuneError]) -> list[str]:
    found: list[str] = []
    for error in group.exceptions:
        found += _messages(error) if isinstance(error, BaseExceptionGroup) else [str(error)]
    return found
