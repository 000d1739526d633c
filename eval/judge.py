"""A language model as judge: the metrics of ragas, over any engine, with constrained output.

The judge is shown a question, an answer and what belongs to it, by the same prompt for every arm,
and is not told which arm answered. A score that it fails to give is `unscored` with a reason.
"""

import asyncio
import hashlib
import json
import math
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from assistant.answer import Answer
from assistant.engines.engine import Engine, Message, Request
from eval.cache import Cache
from eval.question import Question
from eval.score import Metric, Score
from eval.wording import spoken
from ingest.embed import Embedder
from ingest.errors import GroundtuneError
from ingest.extras import require

JUDGED: tuple[Metric, ...] = (
    Metric("faithfulness", "Faithful", help="Share of the answer's claims that its passages hold."),
    Metric("factual_correctness", "Factually right", help="F1 of claims against the reference."),
    Metric("context_precision", "Passages useful", help="Useful passages stand on top."),
    Metric("context_recall", "Passages complete", help="Share of the reference's claims in them."),
    Metric("answer_relevancy", "To the point", help="The answer fits the question."),
    Metric("noise_sensitivity", "Misled", help="Wrong claims that passages led to.", better="low"),
    Metric("rubric", "Rubric", help="The rubric of the recipe, 0 to 1."),
)
CLASSES = {
    "faithfulness": "Faithfulness",
    "factual_correctness": "FactualCorrectness",
    "context_precision": "ContextPrecision",
    "context_recall": "ContextRecall",
    "answer_relevancy": "AnswerRelevancy",
    "noise_sensitivity": "NoiseSensitivity",
    "rubric": "DomainSpecificRubrics",
}
NEEDS = {
    "faithfulness": ("user_input", "response", "retrieved_contexts"),
    "factual_correctness": ("response", "reference"),
    "context_precision": ("user_input", "reference", "retrieved_contexts"),
    "context_recall": ("user_input", "retrieved_contexts", "reference"),
    "answer_relevancy": ("user_input", "response"),
    "noise_sensitivity": ("user_input", "response", "reference", "retrieved_contexts"),
    "rubric": ("user_input", "response"),
}
BEST_RUBRIC = 5.0
ROUNDING = 1e-6
"""How far a share of float32 numbers may be off."""


class Judge:
    """Scores answers by one language model; remembers every score."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        embedder: Embedder,
        cache: Cache,
        *,
        max_tokens: int,
        temperature: float,
        rubric: Mapping[str, str],
    ) -> None:
        """Judge by `engine`; `name` tells its model and settings apart from others in the cache."""
        self.name = name
        self._cache = cache
        self._settings = [name, max_tokens, temperature, dict(rubric)]
        self._embedder = embedder
        self._rubric = dict(rubric)
        self._engine, self._max_tokens, self._temperature = engine, max_tokens, temperature

    async def score(
        self, metric: str, question: Question, answer: Answer, *, seed: int = 0
    ) -> Score | None:
        """Return one metric of `JUDGED` for one answer; None where it does not apply.

        Another `seed` judges it anew.
        """
        values: dict[str, Any] = {
            "user_input": question.question,
            "response": spoken(answer.answer).strip(),
            "reference": question.reference,
            "retrieved_contexts": [evidence.text for evidence in answer.evidence],
        }
        given = {name: values[name] for name in NEEDS[metric]}
        if not all(given.values()):
            return None
        return await self._remembered(
            [metric, given], seed, lambda: self._asked(metric, given, seed)
        )

    async def choose(self, prompt: str, allowed: Sequence[str], *, seed: int = 0) -> str | None:
        """Return which of the `allowed` answers the judge gives to `prompt`; None for none."""

        async def ask() -> Score:
            verdict = await self._llm(seed).agenerate(prompt, _verdict(tuple(allowed)))
            return Score(float(list(allowed).index(verdict.verdict)), "by the judge")

        found = await self._remembered(["choice", prompt, list(allowed)], seed, ask)
        return None if found.value is None else allowed[int(found.value)]

    def _llm(self, seed: int) -> Any:
        return _ragas_llm(self._engine, self._max_tokens, self._temperature, seed)

    async def _asked(self, metric: str, given: Mapping[str, Any], seed: int) -> Score:
        collections = _ragas("ragas.metrics.collections")
        parts: dict[str, Any] = {"llm": self._llm(seed)}
        if metric == "answer_relevancy":
            parts["embeddings"] = _ragas_embedding(self._embedder)
        if metric == "rubric":
            parts["rubrics"] = self._rubric
        result = await getattr(collections, CLASSES[metric])(**parts).ascore(**given)
        value = float(result.value)
        if not math.isfinite(value):
            return Score(None, "the judge found nothing to score")
        if metric == "rubric":
            value = (value - 1) / (BEST_RUBRIC - 1)
        if metric == "answer_relevancy":
            value = max(0.0, value)  # a cosine, and of unlike texts it may be just below
        if not -ROUNDING <= value <= 1 + ROUNDING:
            return Score(None, f"the judge gave {value:g}, and scores are 0 to 1")
        value = min(1.0, max(0.0, value))
        return Score(value, str(result.reason or "by the judge"))

    async def _remembered(
        self, what: list[Any], seed: int, ask: Callable[[], Awaitable[Score]]
    ) -> Score:
        """Return a score from the cache, or from the judge; what it failed on is tried again."""
        text = json.dumps([self._settings, what, seed], sort_keys=True, ensure_ascii=False)
        key = hashlib.sha256(f"judge\x00{text}".encode()).hexdigest()
        known = self._cache.get([key])
        if key in known:
            return Score(**known[key])
        try:
            found = await ask()
        except GroundtuneError as error:
            return Score(None, f"the judge failed: {error.message}")
        if found.value is not None:
            self._cache.put({key: {"value": found.value, "why": found.why}})
        return found


@lru_cache(maxsize=8)
def _verdict(allowed: tuple[str, ...]) -> Any:
    import pydantic

    choice: Any = Literal[allowed]
    return pydantic.create_model("Verdict", verdict=(choice, ...))


class Nonsense(GroundtuneError):
    """The judge's words are not what was asked for."""


def _ragas_llm(engine: Engine, max_tokens: int, temperature: float, seed: int) -> Any:
    """Return `engine` as ragas wants it. A class made here, because ragas is an extra."""

    class EngineLLM(_class("ragas.llms.base", "InstructorBaseRagasLLM")):  # type: ignore[misc]
        def generate(self, prompt: str, response_model: Any) -> Any:
            return asyncio.run(self.agenerate(prompt, response_model))

        async def agenerate(self, prompt: str, response_model: Any) -> Any:
            import pydantic

            request = Request(
                messages=[Message("user", prompt)],
                max_tokens=max_tokens,
                temperature=temperature,
                seed=seed,
                schema=response_model.model_json_schema(),
            )
            text = "".join([piece.text async for piece in engine.stream(request)])
            try:
                return response_model.model_validate_json(text)
            except pydantic.ValidationError:
                raise Nonsense(f"it did not answer in the form asked for: {text[:80]!r}") from None

    return EngineLLM()


def _ragas_embedding(embedder: Embedder) -> Any:

    class EmbedderEmbedding(_class("ragas.embeddings.base", "BaseRagasEmbedding")):  # type: ignore[misc]
        def embed_text(self, text: str, **_: Any) -> list[float]:
            return [float(x) for x in embedder.embed([text])[0]]

        async def aembed_text(self, text: str, **_: Any) -> list[float]:
            return self.embed_text(text)

    return EmbedderEmbedding()


def _class(module: str, name: str) -> Any:
    return getattr(_ragas(module), name)


def _ragas(module: str) -> Any:
    # Read once by ragas when it is imported: judging must not call home.
    os.environ.setdefault("RAGAS_DO_NOT_TRACK", "true")
    return require(module, extra="eval")
