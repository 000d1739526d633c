"""Everything that shapes the answers of a run, settled before the first question is asked."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from assistant.answer import Ask
from assistant.prompt import Turn
from eval.question import Question
from eval.recipe import Arm
from ingest.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Plan:
    """Which questions are put to which arms, and how."""

    questions: tuple[Question, ...]
    arms: tuple[Arm, ...]
    examples: Mapping[str, tuple[Turn, ...]]
    """Arm name -> worked examples."""
    collection: str
    schema: Mapping[str, Any] | None
    """The house format, for the arms that are constrained to it."""
    contexts: Mapping[str, str]
    """Arm name -> what its answers rest on besides the question: hashes of model, prompt contract,
    adapter and index, and the settings. An answer is taken from the cache only where all agree."""
    engines: Mapping[str, str]
    """Arm name -> its language model; arms of one model are asked together."""
    adapters: Mapping[str, str]
    """Arm name -> `name:version`, for the tuned arms."""
    max_tokens: int | None
    temperature: float
    seed: int
    repeat: int
    """Answers to each question by each arm that samples; a greedy arm answers once."""

    def sampled(self, arm: Arm) -> bool:
        """Whether the arm draws its words, so that asking again gives another answer."""
        return self._temperature(arm) > 0

    def repeats(self, arm: Arm) -> int:
        """Return how often each question is put to `arm`."""
        return self.repeat if self.sampled(arm) else 1

    def ask(self, question: Question, arm: Arm, repeat: int = 0) -> Ask:
        """Return what the assistant is asked.

        Raises:
            ConfigError: a constrained arm, and no schema.
        """
        schema = question.json_schema if question.json_schema is not None else self.schema
        if arm.constrain and schema is None:
            raise ConfigError(
                f"Arm {arm.name!r} is constrained to a schema, and there is none.",
                hint="Name one in groundtune.toml: [answer] schema_file = 'answer.schema.json'",
            )
        return Ask(
            question=question.question,
            mode=arm.mode,
            collection=self.collection,
            adapter=self.adapters.get(arm.name),
            examples=self.examples.get(arm.name, ()),
            top_k=arm.top_k,
            schema=schema if arm.constrain else None,
            max_tokens=arm.max_tokens if arm.max_tokens is not None else self.max_tokens,
            temperature=self._temperature(arm),
            # Greedy decoding draws nothing: the seed must not part answers that are the same.
            seed=self.seed + repeat if self.sampled(arm) else 0,
            repeatable=True,
        )

    def key(self, question: Question, arm: Arm, repeat: int = 0) -> str:
        """Return the hash of everything that shapes this answer: 64 hex digits."""
        ask = self.ask(question, arm, repeat)
        parts = [
            self.contexts[arm.name],
            *(repr(getattr(ask, name)) for name in Ask.__dataclass_fields__ if name != "schema"),
            json.dumps(ask.schema, sort_keys=True),
        ]
        return hashlib.sha256("\x00".join(parts).encode()).hexdigest()

    def fingerprint(self) -> str:
        """Return the hash of the whole run: 8 hex digits."""
        keys = [
            f"{question.id}/{arm.name}/{repeat}={self.key(question, arm, repeat)}"
            for question in self.questions
            for arm in self.arms
            for repeat in range(self.repeats(arm))
        ]
        return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:8]

    def check(self) -> None:
        """Refuse a plan that cannot be carried out, before the first hour.

        Raises:
            ConfigError: a constrained arm without a schema, or repeats of greedy answers.
        """
        for arm in self.arms:
            self.ask(self.questions[0], arm)
        if self.repeat > 1 and not any(self.sampled(arm) for arm in self.arms):
            raise ConfigError(
                f"repeat = {self.repeat}, and every arm decodes greedily: each answer would come "
                "out the same.",
                hint="Set `temperature` above 0 in the recipe or in an arm, or leave `repeat` out.",
            )

    def _temperature(self, arm: Arm) -> float:
        return self.temperature if arm.temperature is None else arm.temperature
