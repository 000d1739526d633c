"""The prompts that a served adapter is compared on with the trained one."""

import re
from collections.abc import Sequence

from assistant.engines.engine import Message
from assistant.prompt import WITH_EVIDENCE, WITHOUT_EVIDENCE
from finetune.dataset import Dataset


def parity_prompts(dataset: Dataset, rows: int) -> list[list[Message]]:
    """Return the prompts of `rows` held-out rows, each with its evidence and without.

    A row that has no evidence gives one prompt. Training rows stand in where too few were held
    out: whether two models are the same one shows on any text.
    """
    chosen = dataset.validation[:rows]
    if len(chosen) < rows:
        chosen += dataset.train[: rows - len(chosen)]
    prompts = []
    for example in chosen:
        shown = list(example.prompt)
        prompts.append(shown)
        bare = without_evidence(shown)
        if bare != shown:
            prompts.append(bare)
    return prompts


def without_evidence(messages: Sequence[Message]) -> list[Message]:
    """Return the same question without its passages."""
    *before, last = messages
    found = _shown().fullmatch(last.content)
    if found is None:
        return list(messages)
    bare = WITHOUT_EVIDENCE.format(question=found["question"])
    return [*before, Message(last.role, bare)]


def _shown() -> re.Pattern[str]:
    """Return a pattern that reads the question back out of a prompt with evidence."""
    question, passages = re.escape("{question}"), re.escape("{passages}")
    pattern = re.escape(WITH_EVIDENCE).replace(question, "(?P<question>.+?)", 1)
    pattern = pattern.replace(question, "(?P=question)").replace(passages, ".+")
    return re.compile(pattern, re.DOTALL)
