"""A data set of a workspace, put to every check: its base model's tokens, its index, its format."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from assistant.answer_schema import schema_of
from assistant.workspace import Workspace
from finetune.answer_format import AnswerFormat
from finetune.base_model import load_tokenizer, training_folder
from finetune.check.finding import Row, Subject, read_rows
from finetune.check.report import Report, check
from finetune.dataset import Dataset
from finetune.lines import problems, read_lines
from finetune.token_lengths import TokenLengths
from finetune.workbench import chunks_of


@dataclass(frozen=True, slots=True)
class Terms:
    """What a data set is held against."""

    window: int = 1024
    """Longest row, in tokens."""
    use: Literal["style", "knowledge"] = "style"
    collection: str = "default"
    """The index that questions may not stand in."""
    questions: Path | None = None
    """Evaluation questions, JSONL."""
    schema: dict[str, Any] | None = None
    """The format of answers; None takes that of the voice of the data set's name, if it has one."""
    patterns: Sequence[str] = ()


def examine(
    dataset: Dataset, workspace: Workspace, terms: Terms, *, tokenizer: Any = None
) -> tuple[Report, list[Row]]:
    """Return the report on a data set, and its rows with their places.

    Args:
        dataset: what is checked.
        workspace: its base model counts the tokens, its index is compared with.
        terms: what the rows are held against.
        tokenizer: counts in the place of the base model's own.

    Raises:
        DataError: the questions, or a file of the data set, cannot be read.
        MissingModelError: the base model is not on this machine.
    """
    rows = read_rows(dataset.files, dataset.sides)
    schema = terms.schema or schema_of(workspace.settings.voice_of(dataset.name))
    if tokenizer is None:
        folder = training_folder(workspace.model_file, workspace.base_sha256)
        tokenizer = load_tokenizer(folder)
    indexed = terms.collection in workspace.registry.collections()
    subject = Subject(
        rows,
        AnswerFormat(schema, terms.patterns),
        lengths=TokenLengths(tokenizer),
        window=terms.window,
        use=terms.use,
        questions=read_questions(terms.questions) if terms.questions else {},
        passages=(lambda: (c.text for c in chunks_of(terms.collection, workspace)))
        if indexed
        else None,
        control_tokens=[t for t in (tokenizer.eos_token, tokenizer.bos_token) if t],
    )
    return check(subject, name=dataset.folder.name), rows


def read_questions(path: Path) -> dict[str, str]:
    """Return the evaluation questions in a file, by id.

    Raises:
        DataError: no such file, or a line without a question; names all of them.
    """
    questions: dict[str, str] = {}
    with problems('A line is {"id", "question", ...}, as `groundtune eval run` reads it.') as found:
        for line in read_lines(path, found):
            question = line.value.get("question")
            if isinstance(question, str) and question.strip():
                questions[str(line.value.get("id", line.number))] = question
            else:
                found.add(line.where, "there is no question")
    return questions
