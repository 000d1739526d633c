"""What the model says while it is trained: a few validation prompts, answered greedily."""

from collections.abc import Sequence
from typing import Any

from finetune.batch import Row
from finetune.loop import as_it_answers, model_of


def sample_answers(
    model: Any, tokenizer: Any, rows: Sequence[Row], *, max_tokens: int
) -> list[dict[str, str]]:
    """Return `{"prompt", "expected", "answer"}` for each of `rows`."""
    import torch

    base = model_of(model)
    found = []
    with torch.no_grad(), as_it_answers(model):
        for row in rows:
            ids = torch.tensor([row.prompt], device=base.device)
            output = base.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=tokenizer.eos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
            found.append(
                {
                    "prompt": tokenizer.decode(row.prompt),
                    "expected": tokenizer.decode(row.target, skip_special_tokens=True),
                    "answer": tokenizer.decode(
                        output[0, len(row.prompt) :], skip_special_tokens=True
                    ),
                }
            )
    return found
