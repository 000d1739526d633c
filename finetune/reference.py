"""What training left: the dequantised base in float32 with the PEFT adapter."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.engines.engine import Message
from finetune.base_model import Compute, best_device, load_model, load_tokenizer, quiet
from ingest.extras import require

TOP = 5
"""Likeliest tokens that are shown where two models part."""


@dataclass(frozen=True, slots=True)
class Likely:
    """A token and how likely it is."""

    text: str
    logprob: float
    """Natural logarithm of its probability."""


class Predictions:
    """What the reference holds likely at each place of a text, and behind it."""

    def __init__(self, logits: Any, tokenizer: Any) -> None:
        self._logits = logits  # (places, vocabulary)
        self._tokenizer = tokenizer
        self.best: list[int] = logits.argmax(dim=-1).tolist()
        """The likeliest token of each place."""

    def top(self, place: int) -> tuple[Likely, ...]:
        """Return the five likeliest tokens of a place, the likeliest first."""
        values, ids = self._logits[place].log_softmax(dim=-1).topk(TOP)
        pairs = zip(ids.tolist(), values.tolist(), strict=True)
        return tuple(Likely(self._tokenizer.decode([i]), round(v, 4)) for i, v in pairs)

    def margin(self, place: int, token: int) -> float:
        """Return by how much the likeliest token of a place is preferred to `token`, in nats."""
        logits = self._logits[place]
        return float(logits.max() - logits[token])


class Reference:
    """The trained model, as the judge of a served one."""

    def __init__(self, base: Path, adapter: Path) -> None:
        """Load the transformers folder `base` and the PEFT folder `adapter`."""
        peft = require("peft", extra="finetune")
        self.tokenizer = load_tokenizer(base)
        device = best_device()
        compute: Compute = "bfloat16" if device == "cuda" else "float32"
        model = load_model(base, quantisation="none", device=device, compute=compute)
        with quiet():
            self._model = peft.PeftModel.from_pretrained(model, adapter).eval()
        self._prompt: list[int] = []
        self._memory: Any = None

    @property
    def end(self) -> int:
        """The token that ended every answer in training."""
        return int(self.tokenizer.eos_token_id)

    def render(self, messages: Sequence[Message]) -> str:
        """Return the prompt text that training made of `messages`."""
        turns = [{"role": m.role, "content": m.content} for m in messages]
        text: str = self.tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=False
        )
        return text

    def ids(self, text: str) -> list[int]:
        """Return the token ids of `text`; control tokens in it count as such."""
        found: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return found

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of token ids; it ends with U+FFFD where a character is cut in two."""
        text: str = self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return text

    def predict(self, prompt: Sequence[int], answer: Sequence[int]) -> Predictions:
        """Return what is likely at each place of `answer` and at the one behind it.

        Each place is predicted from all that stands before it, so one pass says whether greedy
        decoding would have written `answer`: it would, exactly if all of these are its own.
        """
        import torch

        prompt = list(prompt)
        with torch.no_grad():
            if prompt != self._prompt:
                self._read(prompt)
            ids = torch.tensor([[prompt[-1], *answer]], device=self._model.device)
            output = self._model(input_ids=ids, past_key_values=self._memory, use_cache=True)
        self._memory.crop(-len(ids[0]))  # only the prompt stays
        return Predictions(output.logits[0].float(), self.tokenizer)

    def _read(self, prompt: list[int]) -> None:
        """Keep what the model makes of `prompt`, all but its last token, for many answers."""
        import torch
        from transformers import DynamicCache

        self._memory = DynamicCache()
        ids = torch.tensor([prompt[:-1]], device=self._model.device)
        self._model(input_ids=ids, past_key_values=self._memory, use_cache=True, logits_to_keep=1)
        self._prompt = prompt
