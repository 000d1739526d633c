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

    wanted = batch.labels[1:] != NO_LOSS  # (N-1,): place t predicts token t+1
    logits = model.get_output_embeddings()(hidden_states(model, batch)[:-1][wanted])
    return cross_entropy(logits.float(), batch.labels[1:][wanted], reduction="sum")


def hidden_states(model: Any, batch: Batch) -> "Tensor":
    """Return the last layer's output for every place of `batch`: shape (N, D).

    What the rows begin with in common (the system text) passes through the model once, and its
    gradient is that of all rows.
    """
    from finetune.row_attention import Layout, attend_by_rows

    attend_by_rows(model)
    body = getattr(model, model.base_model_prefix)
    found = body(
        input_ids=batch.input_ids[None],
        attention_mask=batch.input_ids.new_zeros(1, 1, 1, 1),  # none is to be made: rows know
        position_ids=batch.position_ids[None],
        use_cache=False,
        layout=Layout(batch.shared, batch.lengths),
    )
    hidden: Tensor = found.last_hidden_state[0]
    return hidden


def answer_tokens(batch: Batch) -> int:
    """Return how many tokens of `batch` carry loss."""
    return int((batch.labels[1:] != NO_LOSS).sum())
