"""The loss over the answer's tokens, and nothing else."""

from typing import TYPE_CHECKING, Any

from finetune.batch import NO_LOSS, Batch

if TYPE_CHECKING:
    from torch import Tensor


def answer_loss(model: Any, batch: Batch) -> "Tensor":
    """Return the summed cross-entropy (nats) of the tokens that carry loss; a scalar.

    `model` is a transformers causal language model. Only the places that predict a token with loss
    go through the output head: for a vocabulary of 49,152 the logits of all places would cost more
    memory than all else together, and the prompt is most of a row.
    """
    from torch.nn.functional import cross_entropy

    body = getattr(model, model.base_model_prefix)
    hidden = body(input_ids=batch.input_ids, use_cache=False).last_hidden_state  # (B, T, D)
    wanted = batch.labels[:, 1:] != NO_LOSS  # (B, T-1): place t predicts token t+1
    logits = model.get_output_embeddings()(hidden[:, :-1][wanted])  # (N, V)
    return cross_entropy(logits.float(), batch.labels[:, 1:][wanted], reduction="sum")


def answer_tokens(batch: Batch) -> int:
    """Return how many tokens of `batch` carry loss."""
    return int((batch.labels[:, 1:] != NO_LOSS).sum())
