"""Is the adapter that serves the adapter that was trained?

The reference is what training had: the dequantised base in float32 with the PEFT adapter. Against
it stands the engine with the exported adapter. A wrong chat template, a permutation that was
forgotten or a scale that was lost all show here, before an adapter answers anybody.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.adapter import Adapter
from assistant.engines.engine import AdapterFile, Engine, Message, Request
from finetune.base_model import best_device, load_model, load_tokenizer, quiet
from finetune.batch import prompt_ids
from ingest.extras import require

MIN_AGREEMENT = 0.97
"""Least share of equal next tokens. A quantised engine rounds otherwise than float32, so a near tie
may fall otherwise; a broken export agrees on less than half."""


@dataclass(frozen=True, slots=True)
class Served:
    """What the engine made of one prompt."""

    prompt: list[int]
    """Token ids after the chat template."""
    text: str
    """The greedy answer."""
    finished: bool
    """It ended its turn; false where the limit cut it."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How near the served adapter is to the trained one."""

    prompts: int
    identical: int
    """Prompts whose greedy answers are equal, token for token."""
    top1_agreement: float
    """Share of the served tokens that the reference also holds the likeliest, 0 to 1."""
    engine: str
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the adapter may serve."""
        return not self.failures

    def body(self) -> dict[str, Any]:
        """Return what `adapters parity --json` prints."""
        return {
            "passed": self.passed,
            "prompts": self.prompts,
            "identical": self.identical,
            "top1_agreement": round(self.top1_agreement, 4),
            "engine": self.engine,
            "failures": list(self.failures),
        }


class Reference:
    """The base model with the PEFT adapter, as training left it, in float32."""

    def __init__(self, base: Path, adapter: Path) -> None:
        """Load the transformers folder `base` and the PEFT folder `adapter`."""
        peft = require("peft", extra="finetune")
        self.tokenizer = load_tokenizer(base)
        model = load_model(base, quantisation="none", device=best_device())
        with quiet():
            self._model = peft.PeftModel.from_pretrained(model, adapter).eval()

    def next_tokens(self, prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
        """Return the likeliest token at each place of `answer`, given all that is before it.

        One pass says whether greedy decoding would have written `answer`: it would, exactly if all
        of these are the answer's own.
        """
        import torch

        ids = torch.tensor([[*prompt, *answer]], device=self._model.device)
        with torch.no_grad():
            # The last place predicts what would follow the answer, which nobody asks.
            logits = self._model(input_ids=ids, logits_to_keep=len(answer) + 1).logits[0, :-1]
        best: list[int] = logits.argmax(dim=-1).tolist()
        return best


def check_parity(
    reference: Reference,
    engine: Engine,
    adapter: AdapterFile,
    prompts: Sequence[Sequence[Message]],
    *,
    max_tokens: int = 96,
) -> Parity:
    """Compare the engine with `adapter` to the reference on `prompts`, greedily.

    Raises:
        EngineError: the engine failed.
    """
    served = asyncio.run(_serve_all(engine, adapter, prompts, max_tokens))
    failures: list[str] = []
    agreed = total = identical = 0
    for number, (messages, one) in enumerate(zip(prompts, served, strict=True), start=1):
        expected = prompt_ids(reference.tokenizer, messages)
        if one.prompt != expected:
            place = _first_difference(one.prompt, expected)
            failures.append(
                f"prompt {number}: the engine renders other tokens than training, first at {place} "
                f"({len(one.prompt)} tokens, {len(expected)} expected)"
            )
        answer = reference.tokenizer(one.text, add_special_tokens=False).input_ids
        if one.finished:
            answer = [*answer, reference.tokenizer.eos_token_id]
        equal = [
            a == b for a, b in zip(reference.next_tokens(expected, answer), answer, strict=True)
        ]
        agreed += sum(equal)
        total += len(equal)
        identical += all(equal)
    agreement = agreed / total if total else 0.0
    if agreement < MIN_AGREEMENT:
        failures.append(
            f"only {agreement:.1%} of the served tokens are the trained model's choice; "
            f"at least {MIN_AGREEMENT:.0%} are expected"
        )
    return Parity(len(prompts), identical, agreement, engine.name, tuple(failures))


def adapter_parity(
    adapter: Adapter, base: Path, engine: Engine, prompts: Sequence[Sequence[Message]]
) -> Parity:
    """Compare a stored adapter as `engine` serves it to what was trained on `base`."""
    return check_parity(Reference(base, adapter.folder), engine, adapter.file, prompts)


async def _serve_all(
    engine: Engine,
    adapter: AdapterFile,
    prompts: Sequence[Sequence[Message]],
    max_tokens: int,
) -> list[Served]:
    return [await _serve(engine, adapter, messages, max_tokens) for messages in prompts]


async def _serve(
    engine: Engine, adapter: AdapterFile, messages: Sequence[Message], max_tokens: int
) -> Served:
    ids = await engine.prompt_tokens(messages)
    text, finished = "", False
    async for piece in engine.stream(Request(messages, max_tokens=max_tokens, adapter=adapter)):
        text += piece.text
        if piece.usage is not None:
            finished = piece.usage.finish_reason == "stop"
    return Served(ids, text, finished)


def _first_difference(left: Sequence[int], right: Sequence[int]) -> int:
    pairs = zip(left, right, strict=False)
    same = (i for i, (a, b) in enumerate(pairs) if a != b)
    return next(same, min(len(left), len(right)))
