"""How long rows are, in the tokens of the base model."""

from collections.abc import Sequence
from typing import Any

from finetune.example import Example

BATCH = 500


class TokenLengths:
    """Counts the tokens of rows as training does: the rendered prompt, the answer, its end."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, examples: Sequence[Example]) -> list[int]:
        """Return the tokens of each row."""
        lengths: list[int] = []
        for start in range(0, len(examples), BATCH):
            some = examples[start : start + BATCH]
            prompts = [self._prompt(e) for e in some]
            targets = [e.target for e in some]
            counted = [self._ids(texts) for texts in (prompts, targets)]
            lengths += [len(p) + len(t) + 1 for p, t in zip(*counted, strict=True)]
        return lengths

    def _prompt(self, example: Example) -> str:
        turns = [{"role": m.role, "content": m.content} for m in example.prompt]
        text: str = self._tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=False
        )
        return text

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=False).input_ids
        return ids
