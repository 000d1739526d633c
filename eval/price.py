"""What an answer costs, from a price table."""

from collections.abc import Sequence

from assistant.answer import Answer
from eval.recipe import Price
from eval.score import Score

MILLION = 1e6
MS_PER_HOUR = 3.6e6
ANSWERS = 1000
"""Prices are given for this many answers: one alone is a tiny number."""


class Prices:
    """The price table of a recipe."""

    def __init__(self, table: Sequence[Price]) -> None:
        self._table = {price.model: price for price in table}

    def of(self, answer: Answer) -> Score:
        """Return the price of a thousand answers like this one; None where no price is known."""
        price = self._table.get(answer.model) or self._table.get("")
        if price is None:
            return Score(None, f"no price for {answer.model}" if self._table else "no prices given")
        one = (
            price.prompt * answer.prompt_tokens / MILLION
            + price.completion * answer.completion_tokens / MILLION
            + price.hour * answer.timings.total / MS_PER_HOUR
        )
        return Score(one * ANSWERS, "tokens and time by the price table")
