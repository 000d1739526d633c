from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant.intake import Intake, Waiting
from assistant.jobs import Job, Jobs
from assistant.uploads import Uploads
from assistant.workspace import Workspace
from tests.fakes import ScriptedEngine, small_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with small_workspace(tmp_path / "home", ScriptedEngine()) as workspace:
        yield workspace


def queue(workspace: Workspace, count: int) -> tuple[Intake, Jobs, list[Job]]:
    jobs = Jobs(workspace.registry.engine)
    uploads = Uploads(workspace.home / "uploads")
    intake = Intake(workspace.index, workspace.pipeline, jobs, uploads)
    intake.start()
    queued = [jobs.add("default", total=1) for _ in range(count)]
    for number, job in enumerate(queued):
        source = workspace.home / f"{number}.md"
        source.write_text(f"# Title {number}\n\nText number {number}.\n", encoding="utf-8")
        with source.open("rb") as file:
            path = uploads.receive(file, job.id, 0, max_bytes=1000)
        intake.submit(job, [Waiting(source.name, path)])
    return intake, jobs, queued


def test_a_job_is_whole_or_interrupted_when_the_service_ends(workspace: Workspace) -> None:
    intake, jobs, queued = queue(workspace, 30)
    intake.stop()
    assert not intake.alive
    ends = [jobs.get(job.id) for job in queued]
    done = [job for job in ends if job.status == "done"]
    assert {job.error for job in ends if job.status == "failed"} <= {"interrupted"}
    assert all(job.ended for job in ends)
    assert len(workspace.registry.documents()) == len(done)
    kept = [path for path in (workspace.home / "uploads").rglob("*") if path.is_file()]
    assert len(kept) == len(done)


def test_jobs_are_worked_off_in_the_order_they_came(workspace: Workspace) -> None:
    intake, jobs, queued = queue(workspace, 5)
    while not jobs.get(queued[-1].id).ended:
        pass
    intake.stop()
    finished = [jobs.get(job.id).finished or 0.0 for job in queued]
    assert finished == sorted(finished)
    assert all(jobs.get(job.id).status == "done" for job in queued)
