"""Is the adapter that serves the adapter that was trained?

The reference is what training had: the dequantised base in float32 with the PEFT adapter. Against
it stands an engine with the exported adapter. A wrong chat template, a permutation that was
forgotten or a scale that was lost all show here, before an adapter answers anybody.

Agreement is counted over the reference's own greedy answer: as long as the engine writes the same,
one pass of the reference judges many tokens; where it does not, the engine is put back onto the
reference's answer, behind the token that it missed, and goes on from there.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from assistant.engines.engine import AdapterFile, Engine, Message, Request
from finetune.probe import Facts, Probe, Resumed
from finetune.reference import Likely, Predictions, Reference


class Limits(NamedTuple):
    """How far apart trained and served may be."""

    agreement: float
    """Least share of equal next tokens, 0 to 1."""
    margin: float
    """Most that the reference may prefer its token to the engine's where they differ, in nats:
    below it is a near tie, which rounding may turn."""


LIMITS = {
    "f32": Limits(0.99, 0.3),
    "f16": Limits(0.99, 0.3),
    "bf16": Limits(0.98, 0.6),
    "q8_0": Limits(0.975, 1.0),
}
"""By the type of the served weights. llama.cpp also rounds what is multiplied with q8_0 weights."""
OTHER_LIMITS = Limits(0.95, 2.0)
"""For weights of fewer bits."""
MOST_DIVERGENCES = 10
"""In one prompt; behind them it is not judged any further."""
CUT = "\ufffd"
"""Stands for a character of which only some bytes are there."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first place of an answer where the engine does not write what the reference would."""

    prompt: int
    """Counted from 1."""
    place: int
    """Tokens of the answer before it."""
    before: str
    """The end of the text before it."""
    reference: tuple[Likely, ...]
    """The five likeliest tokens, the likeliest first."""
    served: tuple[Likely, ...]
    margin: float
    """By how much the reference prefers its token to the engine's, in nats."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How near the served adapter is to the trained one."""

    prompts: int
    equal_texts: int
    """Prompts that the engine renders as training did, to the last character."""
    equal_tokens: int
    """Prompts that it reads as the same token ids."""
    end_token: str
    """What ends an answer in training."""
    served_ends: tuple[str, ...]
    """What ends an answer in the engine; `end_token` must be among them."""
    identical: int
    """Prompts whose greedy answers are equal from the first token to the last."""
    tokens: int
    """Places of the reference's answers that were judged."""
    top1_agreement: float
    """Share of them where the engine holds the reference's token the likeliest, 0 to 1."""
    threshold: float
    """The least share that passes."""
    widest_margin: float
    """Most that the reference prefers its token to the engine's at a first divergence, in nats."""
    most_margin: float
    """The widest that passes: a near tie, which rounding may turn."""
    engine: str
    """Kind of the engine: `embedded`, `ollama`."""
    weights: str
    """Type of the served weights."""
    failures: tuple[str, ...]
    divergences: tuple[Divergence, ...]

    @property
    def passed(self) -> bool:
        """Whether the adapter may serve."""
        return not self.failures

    def body(self) -> dict[str, Any]:
        """Return what `adapters parity --json` prints and the manifest keeps."""
        return {
            "passed": self.passed,
            **asdict(self),
            "served_ends": list(self.served_ends),
            "top1_agreement": round(self.top1_agreement, 4),
            "failures": list(self.failures),
            "divergences": [_divergence_body(d) for d in self.divergences],
        }


@dataclass(slots=True)
class _Tally:
    """What one prompt came to."""

    failures: list[str]
    equal_text: bool
    equal_tokens: bool
    agreed: int = 0
    judged: int = 0
    divergence: Divergence | None = None


def check_parity(
    reference: Reference,
    engine: Engine,
    probe: Probe,
    adapter: AdapterFile,
    prompts: Sequence[Sequence[Message]],
    *,
    kind: str,
    max_tokens: int = 96,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Parity:
    """Compare the engine with `adapter` to the reference on `prompts`, greedily.

    Args:
        reference: what was trained.
        engine: answers each prompt as it answers users.
        probe: continues answers of the same engine.
        adapter: what the engine serves.
        prompts: messages up to where an answer begins.
        kind: of the engine.
        max_tokens: longest answer.
        report: called with the number of prompts done and of all.

    Raises:
        EngineError: the engine failed.
    """
    facts = probe.facts(adapter)
    tallies = asyncio.run(
        _compare_all(_Comparison(reference, engine, probe, adapter, max_tokens), prompts, report)
    )
    judged = sum(tally.judged for tally in tallies)
    agreement = sum(tally.agreed for tally in tallies) / judged if judged else 0.0
    divergences = tuple(t.divergence for t in tallies if t.divergence is not None)
    limits = LIMITS.get(facts.weights, OTHER_LIMITS)
    end = reference.text([reference.end])
    failures = [
        *_end_failures(end, facts),
        *(failure for tally in tallies for failure in tally.failures),
        *_agreement_failures(agreement, divergences, limits, facts.weights),
    ]
    return Parity(
        prompts=len(prompts),
        equal_texts=sum(t.equal_text for t in tallies),
        equal_tokens=sum(t.equal_tokens for t in tallies),
        end_token=end,
        served_ends=facts.end_tokens,
        identical=sum(t.judged > 0 and t.agreed == t.judged for t in tallies),
        tokens=judged,
        top1_agreement=agreement,
        threshold=limits.agreement,
        widest_margin=max((d.margin for d in divergences), default=0.0),
        most_margin=limits.margin,
        engine=kind,
        weights=facts.weights,
        failures=tuple(failures),
        divergences=divergences,
    )


def _end_failures(end: str, facts: Facts) -> list[str]:
    if end in facts.end_tokens:
        return []
    return [f"training ends answers with {end!r}, the engine with {list(facts.end_tokens)}"]


def _agreement_failures(
    agreement: float, divergences: Sequence[Divergence], limits: Limits, weights: str
) -> list[str]:
    found = []
    if agreement < limits.agreement:
        found.append(
            f"{agreement:.1%} of the trained model's tokens are the served model's choice; "
            f"at least {limits.agreement:.1%} are expected with {weights} weights"
        )
    worst = max(divergences, key=lambda d: d.margin, default=None)
    if worst is not None and worst.margin > limits.margin:
        found.append(
            f"prompt {worst.prompt}: behind {worst.before!r} the trained model prefers its token "
            f"by {worst.margin:.2f} nats; up to {limits.margin:g} are a near tie with {weights} "
            "weights"
        )
    return found


async def _compare_all(
    comparison: "_Comparison",
    prompts: Sequence[Sequence[Message]],
    report: Callable[[int, int], None],
) -> list[_Tally]:
    tallies = []
    for number, messages in enumerate(prompts, start=1):
        tallies.append(await comparison.compare(number, messages))
        report(number, len(prompts))
    return tallies


@dataclass(frozen=True, slots=True)
class _Comparison:
    """One engine against one reference."""

    reference: Reference
    engine: Engine
    probe: Probe
    adapter: AdapterFile
    max_tokens: int

    async def compare(self, number: int, messages: Sequence[Message]) -> _Tally:
        """Compare on one prompt."""
        text = self.reference.render(messages)
        ids = self.reference.ids(text)
        rendered = await self.engine.prompt_tokens(messages)
        answer, read = await self._ask(messages)
        tally = _Tally(
            self._prompt_failures(number, text, ids, rendered, read),
            equal_text=self.reference.text(rendered) == text,
            equal_tokens=rendered == ids and read == len(ids),
        )
        self._judge(number, ids, text, answer, tally)
        return tally

    async def _ask(self, messages: Sequence[Message]) -> tuple[Resumed, int]:
        """Return the answer as a user gets it, and the tokens of the prompt that was read."""
        request = Request(messages, max_tokens=self.max_tokens, adapter=self.adapter)
        text, finished, read = "", False, 0
        async for piece in self.engine.stream(request):
            text += piece.text
            if piece.usage is not None:
                finished = piece.usage.finish_reason == "stop"
                read = piece.usage.prompt_tokens
        return Resumed(text, finished, ()), read

    def _prompt_failures(
        self, number: int, text: str, ids: list[int], rendered: list[int], read: int
    ) -> list[str]:
        got = self.reference.text(rendered)
        if got != text:
            place = _first_difference(got, text)
            return [
                f"prompt {number}: the engine renders other text than training, from character "
                f"{place} on: {got[place : place + 40]!r}, expected {text[place : place + 40]!r}"
            ]
        if rendered != ids:
            place = _first_difference(rendered, ids)
            return [
                f"prompt {number}: the engine makes other tokens of the same text, from {place} "
                f"on: {rendered[place : place + 5]}, expected {ids[place : place + 5]}"
            ]
        if read != len(ids):
            return [f"prompt {number}: the engine read {read} tokens, {len(ids)} are expected"]
        return []

    def _judge(
        self, number: int, prompt: list[int], text: str, served: Resumed, tally: _Tally
    ) -> None:
        """Walk along the reference's greedy answer and count where the engine goes along."""
        answer: list[int] = []
        divergences = 0
        while True:
            draft = self._draft(served)
            found = self.reference.predict(prompt, [*answer, *draft])
            best = found.best[len(answer) :]
            same = _first_difference(draft, best)
            answer += draft[:same]
            tally.agreed += same
            tally.judged += same
            if same == len(draft):
                return
            token = best[same]
            tally.judged += 1
            written = self.reference.text([*draft[:same], token])
            if (
                token != self.reference.end
                and served.text.startswith(written)
                and self._likeliest(prompt, text, answer) == self.reference.text([token])
            ):
                # The same text in other tokens: greedy decoding may write a word in pieces that
                # the tokenizer would have joined.
                tally.agreed += 1
                answer.append(token)
                served = Resumed(served.text[len(written) :], served.finished, ())
                continue
            if tally.divergence is None:
                margin = found.margin(len(answer), draft[same])
                tally.divergence = self._divergence(number, prompt, text, answer, found, margin)
            divergences += 1
            answer.append(token)
            self._complete_character(prompt, answer)
            room = self.max_tokens - len(answer)
            if answer[-1] == self.reference.end or room < 1 or divergences >= MOST_DIVERGENCES:
                return
            served = self._resume(prompt, text, answer, room)

    def _draft(self, served: Resumed) -> list[int]:
        ids = self.reference.ids(served.text)
        return [*ids, self.reference.end] if served.finished else ids

    def _resume(self, prompt: list[int], text: str, answer: list[int], room: int) -> Resumed:
        behind = text + self.reference.text(answer)
        return self.probe.resume([*prompt, *answer], behind, self.adapter, max_tokens=room)

    def _likeliest(self, prompt: list[int], text: str, answer: list[int]) -> str:
        top = self._resume(prompt, text, answer, 1).top
        return top[0].text if top else ""

    def _divergence(
        self,
        number: int,
        prompt: list[int],
        text: str,
        answer: list[int],
        found: Predictions,
        margin: float,
    ) -> Divergence:
        return Divergence(
            prompt=number,
            place=len(answer),
            before=self.reference.text(answer[-12:]),
            reference=found.top(len(answer)),
            served=self._resume(prompt, text, answer, 1).top,
            margin=round(margin, 3),
        )

    def _complete_character(self, prompt: list[int], answer: list[int]) -> None:
        """Append the reference's tokens until `answer` is whole as text; a few bytes at most."""
        for _ in range(3):
            if not self.reference.text(answer).endswith(CUT):
                return
            answer.append(self.reference.predict(prompt, answer).best[-1])


def _divergence_body(divergence: Divergence) -> dict[str, Any]:
    body = asdict(divergence)
    for side in ("reference", "served"):
        body[side] = [[likely["text"], likely["logprob"]] for likely in body[side]]
    return body


def _first_difference(left: Sequence[Any], right: Sequence[Any]) -> int:
    pairs = zip(left, right, strict=False)
    same = (i for i, (a, b) in enumerate(pairs) if a != b)
    return next(same, min(len(left), len(right)))
