"""What routes work with."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from assistant.api.observer import Observer
from assistant.audit import Audit
from assistant.evaluations import Evaluations
from assistant.feedback import Feedback
from assistant.intake import Intake
from assistant.jobs import Jobs
from assistant.keys import Keys
from assistant.reports import Reports
from assistant.uploads import Uploads
from assistant.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the service, built once when it starts."""

    workspace: Workspace
    jobs: Jobs
    uploads: Uploads
    intake: Intake
    keys: Keys
    feedback: Feedback
    evaluations: Evaluations
    reports: Reports
    audit: Audit
    observer: Observer


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


PartsOf = Annotated[Parts, Depends(_parts)]
