"""What a grade is, and which grades there are."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Score:
    """A grade for one answer."""

    value: float | None
    """None: does not apply or could not be scored; counted, never averaged."""
    why: str


@dataclass(frozen=True, slots=True)
class Metric:
    """How a score is called and read."""

    name: str
    label: str
    unit: str = "share"
    """`share` (0 to 1), `ms`, `tokens`, `words` or `price`."""
    help: str = ""
    better: Literal["high", "low"] = "high"
    """Which way is up."""


METRICS: tuple[Metric, ...] = (
    Metric("grounded", "Grounded", help="All key facts right and the house format valid."),
    Metric("facts", "Facts right", help="Every key fact is stated, in one of its spellings."),
    Metric("fact_share", "Facts stated", help="Share of the key facts that are stated."),
    Metric("format", "Format valid", help="The answer is JSON that fits the schema."),
    Metric(
        "abstention", "Abstains rightly", help="Says so when, and only when, there is no answer."
    ),
    Metric("similarity", "Similarity", help="Cosine between the answer and the reference."),
    Metric(
        "rouge",
        "ROUGE-L",
        help="Longest common word sequence with the reference, F1 (rouge-score).",
    ),
    Metric("chrf", "chrF", help="Character n-grams in common with the reference (sacrebleu)."),
    Metric(
        "recall", "Evidence found", help="Share of the named documents among the passages shown."
    ),
    Metric(
        "precision", "Evidence to the point", help="Share of the documents shown that are named."
    ),
    Metric("ndcg", "Evidence on top", help="nDCG of the named documents among those shown."),
    Metric(
        "citation_precision", "Citations right", help="Share of cited documents that are named."
    ),
    Metric(
        "citation_recall", "Citations complete", help="Share of named documents that are cited."
    ),
    Metric("terms", "House terms", help="The answer uses no wording that the house avoids."),
)
COSTS: tuple[Metric, ...] = (
    Metric("total_ms", "Answer time", "ms", better="low"),
    Metric("first_token_ms", "First token", "ms", better="low"),
    Metric("prompt_tokens", "Prompt tokens", "tokens", better="low"),
    Metric("completion_tokens", "Answer tokens", "tokens", better="low"),
    Metric("words", "Answer length", "words", better="low"),
    Metric("price", "Price of 1,000 answers", "price", better="low"),
)
