"""The review file: drafted questions, and what people say of them."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from assistant.config import explain
from eval.question import Question
from ingest.errors import DataError

Status = Literal["open", "accepted", "rejected", "refused"]
KEYS: Mapping[str, Status] = {"a": "accepted", "r": "rejected"}


class Draft(BaseModel):
    """A drafted question and what became of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    status: Status = "open"
    """`open` waits for a person, who makes it `accepted` or `rejected`; `refused` did not pass the
    checks, `why` says which. A person may accept that as well."""
    why: str = ""
    id: str
    question: str
    reference: str = ""
    quote: str = ""
    """The words of the document that bear the reference out."""
    document: str
    facts: tuple[tuple[str, ...], ...] = ()
    tags: tuple[str, ...] = ("drafted",)

    def asked(self) -> Question:
        """Return the draft as a question of an evaluation."""
        return Question(
            id=self.id,
            question=self.question,
            reference=self.reference,
            documents=(self.document,),
            facts=self.facts,
            tags=self.tags,
        )


def read_review(path: Path) -> list[Draft]:
    """Read a review file.

    Raises:
        DataError: no such file, or bad lines; names all of them.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The review file {path} cannot be read: {getattr(error, 'strerror', None) or error}.",
            hint=f"Make one with: groundtune eval questions draft {path}",
        ) from None
    drafts: list[Draft] = []
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            draft = Draft.model_validate(json.loads(line))
        except json.JSONDecodeError as error:
            problems.append(f"{where}: not JSON: {error.msg} at column {error.colno}")
        except ValidationError as error:
            problems.append(explain(error, Draft, where))
        else:
            if any(draft.id == other.id for other in drafts):
                problems.append(f"{where}: id {draft.id!r} stands twice")
            drafts.append(draft)
    if problems:
        raise DataError("\n  ".join([f"{len(problems)} bad lines in {path}:", *problems]))
    return drafts


def write_review(drafts: Sequence[Draft], path: Path) -> None:
    """Write a review file in one moment: a kill leaves the old one or the new one."""
    _write(path, "".join(_line(draft.model_dump(mode="json")) for draft in drafts))


def merged(old: Sequence[Draft], new: Sequence[Draft]) -> list[Draft]:
    """Return what is reviewed and what is new: a line that is there stays as people left it.

    Only a refusal of the model's is replaced, where the same id is drafted again.
    """
    fresh = {draft.id: draft for draft in new}
    kept = [fresh.get(d.id, d) if d.status == "refused" else d for d in old]
    known = {draft.id for draft in kept}
    return kept + [draft for draft in new if draft.id not in known]


def accepted(drafts: Sequence[Draft]) -> list[Question]:
    """Return the accepted drafts as questions.

    Raises:
        DataError: none is accepted.
    """
    found = [draft.asked() for draft in drafts if draft.status == "accepted"]
    if not found:
        raise DataError(
            f"None of the {len(drafts)} drafts is accepted.",
            hint='Set "status" to "accepted" in the file, or go through it with: '
            "groundtune eval questions review FILE",
        )
    return found


def counts(drafts: Sequence[Draft]) -> dict[str, int]:
    """Return status -> number of drafts."""
    found = Counter(draft.status for draft in drafts)
    return {status: found[status] for status in ("open", "accepted", "rejected", "refused")}


def review(path: Path, ask: Callable[[str], str]) -> list[Draft]:
    """Put every open draft to a person; each verdict is on disk before the next is asked for.

    `ask` shows a text and returns what was typed: a(ccept), r(eject), q(uit), anything else skips.
    """
    drafts = read_review(path)
    waiting = [n for n, draft in enumerate(drafts) if draft.status == "open"]
    for done, n in enumerate(waiting, start=1):
        key = ask(_shown(drafts[n], done, len(waiting))).strip().lower()[:1]
        if key == "q":
            break
        if key in KEYS:
            drafts[n] = drafts[n].model_copy(update={"status": KEYS[key]})
            write_review(drafts, path)
    return drafts


def write_questions(questions: Sequence[Question], path: Path) -> None:
    """Write questions as JSONL, in one moment."""
    rows = (q.model_dump(mode="json", by_alias=True, exclude_defaults=True) for q in questions)
    _write(path, "".join(_line(row) for row in rows))


def _shown(draft: Draft, number: int, of: int) -> str:
    return (
        f"\n{number} of {of}  {draft.document}\n  question:  {draft.question}\n"
        f"  reference: {draft.reference}\n  quote:     {draft.quote}\n"
        "accept, reject, skip or quit? [a/r/s/q] "
    )


def _line(row: Mapping[str, object]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
