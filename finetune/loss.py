"""The loss over the answer's tokens, and nothing else."""

from typing import TYPE_CHECKING, Any

from finetune.batch import NO_LOSS, Batch

if TYPE_CHECKING:
    from torch import Tensor


def answer_loss(model: Any, batch: Batch) -> "Tensor":
    """Return the summed cross-entropy (nats) of the tokens that carry loss; a scalar.

    `model` is a transformers causal language model. Only the places that predict a token with loss
    go through the output head: for a vocabulary of 49,152 the logits of all places would cost more
    memory than all else together, and the prompt is most of a row. What the rows begin with in
    common (the system text) passes through the model once, and its gradient is that of all rows.
    """
    from torch.nn.functional import cross_entropy
    from transformers import DynamicCache

    body = getattr(model, model.base_model_prefix)
    cache = None
    if batch.prefix.shape[1]:
        cache = body(
            input_ids=batch.prefix, past_key_values=DynamicCache(), use_cache=True
        ).past_key_values
        cache.batch_repeat_interleave(len(batch.input_ids))
    hidden = body(
        input_ids=batch.input_ids, past_key_values=cache, use_cache=cache is not None
    ).last_hidden_state  # (B, T, D)
    wanted = batch.labels[:, 1:] != NO_LOSS  # (B, T-1): place t predicts token t+1
    logits = model.get_output_embeddings()(hidden[:, :-1][wanted])  # (N, V)
    return cross_entropy(logits.float(), batch.labels[:, 1:][wanted], reduction="sum")


def answer_tokens(batch: Batch) -> int:
    """Return how many tokens of `batch` carry loss."""
    return int((batch.labels[:, 1:] != NO_LOSS).sum())
