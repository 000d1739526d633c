"""Rows become token ids, and token ids become batches without padding."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from finetune.example import Example
from ingest.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

NO_LOSS = -100
"""Label of a token that carries no loss."""


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """One example in token ids."""

    prompt: tuple[int, ...]
    """The rendered prompt, exactly as it is served."""
    target: tuple[int, ...]
    """The answer and the token that ends the turn."""

    def __len__(self) -> int:
        return len(self.prompt) + len(self.target)


class Batch(NamedTuple):
    """Rows one behind the other, behind the beginning that all of them share; N tokens."""

    input_ids: "Tensor"
    """The shared beginning, then what follows in each row: shape (N,)."""
    position_ids: "Tensor"
    """The place of each token in its own row, from 0: shape (N,)."""
    labels: "Tensor"
    """As `input_ids`: the target's ids at the target's places, elsewhere NO_LOSS."""
    shared: int
    """Tokens that every row begins with, of its prompt alone; may be 0."""
    lengths: tuple[int, ...]
    """Tokens that follow in each row."""

    def to(self, device: Any) -> "Batch":
        """Return the batch on `device`."""
        ids, places, labels = (part.to(device) for part in self[:3])
        return Batch(ids, places, labels, self.shared, self.lengths)


Step = list[list[Row]]
"""The micro-batches of one optimizer step."""


def prompt_ids(tokenizer: Any, messages: Sequence[Any]) -> list[int]:
    """Return the ids of the prompt that `messages` become, up to where the answer begins."""
    turns = [{"role": m.role, "content": m.content} for m in messages]
    text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids


def encode(tokenizer: Any, example: Example) -> Row:
    """Return `example` in token ids.

    Prompt and answer are tokenised apart, because they are apart in service: a merge across the
    border would train on a token that is never seen there.
    """
    target = tokenizer(example.target, add_special_tokens=False).input_ids
    prompt = prompt_ids(tokenizer, example.prompt)
    return Row(tuple(prompt), (*target, tokenizer.eos_token_id))


def answers_and_prompts(row: Row) -> Row:
    """Return `row` so that all of it is learnt but its first token, which nothing predicts."""
    return Row(row.prompt[:1], row.prompt[1:] + row.target)


class Fitting(NamedTuple):
    """Rows that fit the window, and how many did not."""

    rows: list[Row]
    too_long: int


def fit(rows: Sequence[Row], *, window: int, what: str) -> Fitting:
    """Leave out the rows that are longer than `window` tokens.

    Raises:
        DataError: none is left.
    """
    kept = [row for row in rows if len(row) <= window]
    if not kept:
        longest = min((len(row) for row in rows), default=0)
        raise DataError(
            f"No {what} row fits the window of {window} tokens (the shortest of {len(rows)} "
            f"has {longest}).",
            hint="Raise train.window, or show fewer passages (retrieval.top_k).",
        )
    return Fitting(kept, len(rows) - len(kept))


def micro_batches(rows: Sequence[Row], *, tokens: int) -> list[list[Row]]:
    """Cut `rows`, in their order, into groups of at most `tokens`.

    A row longer than `tokens` gets a group of its own.
    """
    groups: list[list[Row]] = []
    held = 0
    for row in rows:
        if not groups or held + len(row) > tokens:
            groups.append([])
            held = 0
        groups[-1].append(row)
        held += len(row)
    return groups


def plan_steps(
    rows: Sequence[Row],
    *,
    epochs: float,
    max_steps: int,
    batch_tokens: int,
    micro_batch_tokens: int,
    seed: int,
) -> list[Step]:
    """Return the micro-batches of every optimizer step of a whole run.

    Each epoch shuffles the rows anew and cuts them into steps of about `batch_tokens`, so that a
    step holds rows of all kinds. `max_steps` 0 sets no limit.
    """
    budget = epochs * sum(len(row) for row in rows)
    steps: list[Step] = []
    spent = 0
    epoch = 0
    while spent < budget:
        order = list(rows)
        random.Random(f"{seed}:{epoch}").shuffle(order)
        for group in micro_batches(order, tokens=batch_tokens):
            if spent >= budget or (max_steps and len(steps) >= max_steps):
                return steps
            steps.append(micro_batches(group, tokens=micro_batch_tokens))
            spent += sum(len(row) for row in group)
        epoch += 1
    return steps


def join(rows: Sequence[Row]) -> Batch:
    """Return `rows` as one sequence without padding."""
    import torch

    shared = shared_beginning(rows)
    first = rows[0].prompt[:shared]
    ids, places, labels = list(first), list(range(shared)), [NO_LOSS] * shared
    for row in rows:
        ids += (*row.prompt, *row.target)[shared:]
        places += range(shared, len(row))
        labels += [NO_LOSS] * (len(row.prompt) - shared) + list(row.target)
    lengths = tuple(len(row) - shared for row in rows)
    return Batch(torch.tensor(ids), torch.tensor(places), torch.tensor(labels), shared, lengths)


def shared_beginning(rows: Sequence[Row]) -> int:
    """Return how many tokens all prompts begin with, each keeping one that predicts its target."""
    shared = min(len(row.prompt) for row in rows) - 1
    first = rows[0].prompt
    for row in rows[1:]:
        while row.prompt[:shared] != first[:shared]:
            shared -= 1
    return max(shared, 0)
