"""The check of a data set of 10,000 rows, check by check."""

import random
import time
from collections.abc import Iterator

from assistant.config import Settings
from assistant.engines.engine import Message
from assistant.prompt import Passage, build_messages
from assistant.workspace import Workspace
from finetune.answer_format import AnswerFormat
from finetune.base_model import load_tokenizer, training_folder
from finetune.check.finding import Row, Subject
from finetune.check.report import CHECKS, check
from finetune.example import Example
from finetune.ticket import read_tickets
from finetune.token_lengths import TokenLengths
from tests.bench.index import EXAMPLES

ROWS = 10_000
"""Made of the sample company's words; one in ten repeats another."""
ASKED = 112
PASSAGES = 3


def measure(settings: Settings) -> Iterator[str]:
    """Yield the seconds of each check, and of all of them together."""
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
    for one in CHECKS:
        began = time.perf_counter()
        one(subject)
        yield f"  {one.__name__:<36} {time.perf_counter() - began:6.1f} s"
    began = time.perf_counter()
    report = check(subject, name="bench")
    seconds = time.perf_counter() - began
    tokens = sum(report.lengths)
    yield f"check of {ROWS:,} rows, {tokens:,} tokens      {seconds:6.1f} s in all, aim 60 s"


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
