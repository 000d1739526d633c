"""The check of a data set of 10,000 rows, check by check."""

import random
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from assistant.config import Settings
from assistant.engines.engine import Message
from assistant.prompt import Passage, build_messages
from assistant.workspace import Workspace
from finetune.answer_format import AnswerFormat
from finetune.base_model import load_tokenizer, training_folder
from finetune.check.finding import Finding, Row, Subject
from finetune.check.lengths import check_lengths
from finetune.check.report import CHECKS
from finetune.example import Example
from finetune.ticket import read_tickets
from finetune.token_lengths import TokenLengths
from tests.bench.index import EXAMPLES

ROWS = 10_000
"""Made of the sample company's words; one in ten repeats another."""
ASKED = 112
PASSAGES = 3


def measure(settings: Settings) -> Iterator[str]:
    """Yield the time of each check, and of all of them together."""
    with Workspace(settings) as workspace:
        tokenizer = load_tokenizer(training_folder(workspace.model_file, workspace.base_sha256))
    rows = make_rows(settings.answer.system)
    draw = random.Random(2)
    subject = Subject(
        rows,
        AnswerFormat({"type": "object", "required": ["answer"]}),
        lengths=TokenLengths(tokenizer),
        questions={str(n): draw.choice(rows).example.question + " now" for n in range(ASKED)},
        passages=lambda: [text for row in rows for text in row.example.evidence],
    )
    total = Spent(0.0, 0.0)
    for one in (*CHECKS, _lengths):
        spent = _spent(lambda one=one: one(subject))  # type: ignore[misc]
        total = Spent(total.wall_s + spent.wall_s, total.cpu_s + spent.cpu_s)
        yield f"  {one.__name__:<36} {spent}"
    yield f"{f'check of {ROWS:,} rows, aim 60 s':<38} {total}"


class Spent(NamedTuple):
    """Time of one check. On a machine that has other work to do, processor time says more."""

    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        return f"{self.wall_s:6.1f} s, {self.cpu_s:6.1f} s of processor time"


def _lengths(subject: Subject) -> list[Finding]:
    assert subject.lengths is not None
    lengths = subject.lengths([row.example for row in subject.rows])
    return check_lengths(subject, lengths)


def _spent(work: Callable[[], object]) -> Spent:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def make_rows(system: str) -> list[Row]:
    """Return rows with three passages each, as long as those of a real assistant, on two sides."""
    draw = random.Random(1)
    tickets = read_tickets(EXAMPLES / "tickets.jsonl")
    words = [word for ticket in tickets for word in ticket.question.split()]
    examples: list[Example] = []
    for number in range(ROWS):
        if number % 10 == 9:
            examples.append(draw.choice(examples))
            continue
        texts = [" ".join(draw.choices(words, k=70)) for _ in range(PASSAGES)]
        question = " ".join(draw.choices(words, k=16))
        target = '{"answer": "' + " ".join(draw.choices(words, k=40)).replace('"', "") + '"}'
        prompt = build_messages(system, question, [Passage("Manual", text) for text in texts])
        examples.append(
            Example((*prompt, Message("assistant", target)), f"t{number}", ("a",), tuple(texts))
        )
    held = ROWS // 10
    sides = [("validation", examples[:held]), ("train", examples[held:])]
    return [
        Row(side, f"{side}.jsonl", line, example)
        for side, some in sides
        for line, example in enumerate(some, start=1)
    ]
