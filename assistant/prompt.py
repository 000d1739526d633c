"""The prompt contract: how system text, evidence, history and question become messages.

Training, serving and evaluation all build their prompts here and nowhere else, so a model is
asked in service exactly what it was asked in training. `fingerprint` names the contract; an
adapter remembers the one that it was trained with.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from assistant.engines.engine import Message

PASSAGE = "[{marker}] {label}\n{text}"
# The question stands on both sides: a model reads from left to right, and this way it reads the
# passages with the question in mind (Xu et al. 2023, "Re-Reading Improves Reasoning in LLMs").
WITH_EVIDENCE = "Question: {question}\n\nPassages:\n{passages}\n\nQuestion: {question}"
WITHOUT_EVIDENCE = "Question: {question}"

MARKED = re.compile(r"(?:\A|\n\n)\[\d+\] ")
"""Where a passage begins."""

# The control tokens of the common chat templates. A document that contains one must not be able to
# end a turn or to open one: with a space inside it is ordinary text.
CONTROL_TOKEN = re.compile(
    r"<(?=[|｜][^<>\n]{1,64}[|｜]>)|<(?=/?s>)|<(?=(?:start|end)_of_turn>)|\[(?=/?INST\])"
    r"|<(?=</?SYS>>)|<(?=/?(?:bos|eos|pad|unk)>)"
)


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of evidence as the model sees it."""

    label: str
    """Title and headings path."""
    text: str


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier question, its answer, and the evidence that was shown with it."""

    question: str
    answer: str
    passages: tuple[Passage, ...] = ()


def neutralise(text: str) -> str:
    """Return `text` with every control token of a chat template broken by a space."""
    return CONTROL_TOKEN.sub(lambda match: match.group() + " ", text)


def user_text(question: str, passages: Sequence[Passage]) -> str:
    """Return the user message for `question`; passages are numbered from 1, as given."""
    question = neutralise(question.strip())
    if not passages:
        return WITHOUT_EVIDENCE.format(question=question)
    shown = "\n\n".join(
        PASSAGE.format(marker=marker, label=neutralise(p.label), text=neutralise(p.text.strip()))
        for marker, p in enumerate(passages, start=1)
    )
    return WITH_EVIDENCE.format(passages=shown, question=question)


def question_of(text: str) -> str:
    """Return the question of a user message that `user_text` wrote, with or without passages."""
    begin, between = WITHOUT_EVIDENCE.format(question=""), "\n\nPassages:\n"
    return text.removeprefix(begin).partition(between)[0]


def passages_of(text: str) -> tuple[Passage, ...]:
    """Return the passages of a user message that `user_text` wrote; none where it shows none.

    None as well where a passage's own words look like the beginning of another one.
    """
    question = question_of(text)
    begin, end = f"{user_text(question, ())}\n\nPassages:\n", f"\n\n{user_text(question, ())}"
    if not (text.startswith(begin) and text.endswith(end)):
        return ()
    parts = MARKED.split(text.removeprefix(begin).removesuffix(end))[1:]
    passages = tuple(Passage(*part.partition("\n")[::2]) for part in parts)
    return passages if user_text(question, passages) == text else ()


def build_messages(
    system: str,
    question: str,
    passages: Sequence[Passage] = (),
    *,
    history: Sequence[Turn] = (),
) -> list[Message]:
    """Return the messages for one question: system text, earlier turns, then the question.

    `system` comes from the owner of the assistant and is sent as it is; everything else comes from
    outside and is neutralised.
    """
    messages = [Message("system", system)]
    for turn in history:
        messages.append(Message("user", user_text(turn.question, turn.passages)))
        messages.append(Message("assistant", neutralise(turn.answer)))
    messages.append(Message("user", user_text(question, passages)))
    return messages


def fingerprint(system: str, chat_template: str) -> str:
    """Return the name of the contract: 16 hex digits over everything that shapes a prompt."""
    parts = (PASSAGE, WITH_EVIDENCE, WITHOUT_EVIDENCE, CONTROL_TOKEN.pattern, system, chat_template)
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:16]
