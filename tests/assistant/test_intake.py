import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from assistant.intake import Intake, recover
from assistant.jobs import Job, Jobs
from assistant.uploads import Uploads
from assistant.workspace import Workspace
from ingest.files import Upload
from tests.fakes import HashEmbedder, ScriptedEngine, small_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with small_workspace(tmp_path / "home", ScriptedEngine()) as workspace:
        yield workspace


def started(workspace: Workspace) -> tuple[Intake, Jobs, Uploads]:
    jobs = Jobs(workspace.registry.engine)
    uploads = Uploads(workspace.home / "uploads")
    recover(jobs, uploads)
    intake = Intake(workspace.index, workspace.pipeline, jobs, uploads, workspace.home)
    intake.start()
    return intake, jobs, uploads


class Held(HashEmbedder):
    """Embeds the first few texts, and the next once it may."""

    def __init__(self) -> None:
        self.calls = 0
        self.may = threading.Event()

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls += 1
        assert self.calls < 6 or self.may.wait(120)
        return super().embed(texts)


def given(jobs: Jobs, uploads: Uploads, *numbers: int) -> tuple[Job, list[str]]:
    """Take in the files of a job, and do not submit it."""
    job = jobs.add("default", total=len(numbers))
    for place, number in enumerate(numbers):
        source = uploads.folder.parent / f"{number}.md"
        source.write_text(f"# Title {number}\n\nText number {number}.\n", encoding="utf-8")
        with source.open("rb") as file:
            uploads.receive(file, job.id, place, max_bytes=1000)
    return job, [f"{number}.md" for number in numbers]


def ended(jobs: Jobs, queued: list[Job]) -> list[Job]:
    while not all(jobs.get(job.id).ended for job in queued):
        time.sleep(0.01)
    return [jobs.get(job.id) for job in queued]


def test_jobs_go_on_where_the_service_ended(workspace: Workspace) -> None:
    workspace.__dict__["embedder"] = held = Held()
    intake, jobs, uploads = started(workspace)
    held.may = intake._stopping  # so it is told to end in the middle of a job
    queued = []
    for number in range(30):
        job, sources = given(jobs, uploads, 2 * number, 2 * number + 1)
        intake.submit(job, sources, [None] * len(sources))
        queued.append(job)
    ended(jobs, queued[:1])
    intake.stop()
    assert not intake.alive
    assert {jobs.get(job.id).status for job in queued} <= {"done", "queued"}
    assert not jobs.get(queued[-1].id).ended
    intake, jobs, uploads = started(workspace)
    ends = ended(jobs, queued)
    intake.stop()
    assert [job.status for job in ends] == ["done"] * 30
    assert all(job.result is not None and job.result["added"] == 2 for job in ends)
    finished = [job.finished or 0.0 for job in ends]
    assert finished == sorted(finished)
    assert len(workspace.registry.documents()) == 60
    kept = [path for path in uploads.folder.rglob("*") if path.is_file()]
    assert len(kept) == 60


@pytest.mark.parametrize("moved", [False, True])
def test_a_job_that_a_process_died_at_goes_on_and_nothing_is_done_twice(
    workspace: Workspace, moved: bool
) -> None:
    jobs, uploads = Jobs(workspace.registry.engine), Uploads(workspace.home / "uploads")
    job, sources = given(jobs, uploads, 1, 2)
    jobs.submit(job.id, sources, [None] * len(sources))
    # As it is after a kill: begun, one file in the index, and what became of it not yet noted.
    [waiting] = [job for job in [jobs.next()] if job is not None]
    assert jobs.claim(waiting)
    jobs.progress(job.id, done=0, current="1.md")
    workspace.pipeline.run(
        [Upload("1.md", None, uploads.waiting(job.id, 0).read_bytes)], collection="default"
    )
    if moved:
        uploads.keep(uploads.waiting(job.id, 0), "default", "1.md")
    intake, jobs, uploads = started(workspace)
    [end] = ended(jobs, [job])
    intake.stop()
    assert (end.status, end.done) == ("done", 2)
    assert end.result is not None
    assert (end.result["unchanged"], end.result["added"]) == (1, 1)
    assert {p.name for p in uploads.folder.rglob("*.md")} == {"1.md", "2.md"}
    assert not list((uploads.folder / ".incoming").iterdir())


def test_two_that_serve_one_workspace_do_each_job_once(workspace: Workspace) -> None:
    crew = [started(workspace) for _ in range(2)]
    _, jobs, uploads = crew[0]
    queued = []
    for number in range(20):
        job, sources = given(jobs, uploads, number)
        crew[number % 2][0].submit(job, sources, [None] * len(sources))
        queued.append(job)
    ends = ended(jobs, queued)
    for intake, _, _ in crew:
        intake.stop()
    # Twice the same file would be `unchanged` the second time.
    assert [job.result and job.result["added"] for job in ends] == [1] * 20


def test_what_came_for_no_job_is_removed_at_the_start(workspace: Workspace) -> None:
    jobs, uploads = Jobs(workspace.registry.engine), Uploads(workspace.home / "uploads")
    torn, _ = given(jobs, uploads, 1)
    intake, jobs, _ = started(workspace)
    intake.stop()
    assert (jobs.get(torn.id).status, jobs.get(torn.id).error) == ("failed", "interrupted")
    assert not uploads.waiting(torn.id, 0).exists()
