"""Attention among rows that stand one behind the other, behind a beginning that they share.

All rows of a micro-batch pass through a model as one sequence: the shared beginning once, then what
follows in each row. So there is no padding, and every layer but attention sees one long row. Here a
row's tokens look at the shared beginning and at what stands before them in their own row.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.autograd import Function
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from torch import Tensor

NAME = "rows"
"""What transformers calls this attention."""


class Layout(NamedTuple):
    """Where the rows of one sequence stand."""

    shared: int
    """Tokens of the shared beginning; may be 0."""
    lengths: tuple[int, ...]
    """Tokens that follow in each row."""


def attend_by_rows(model: Any) -> None:
    """Make `model` take a `layout`; without one it attends as it did."""
    if model.config._attn_implementation != NAME:
        model.set_attn_implementation(NAME)


def attend(
    module: Any,
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    attention_mask: Any,
    *,
    layout: Layout | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> "tuple[Tensor, None]":
    """Return shape (1, N, heads, D) for `query` (1, heads, N, D) and as many keys and values.

    `key` and `value` may have fewer heads, each of which serves a group of the query's.
    """
    if layout is None:
        output: tuple[Tensor, None] = sdpa_attention_forward(
            module,
            query,
            key,
            value,
            attention_mask,
            scaling=scaling,
            sliding_window=sliding_window,
            **options,
        )
        return output
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    pieces = [piece for piece in (layout.shared, *layout.lengths) if piece]
    queries, keys, values = (torch.split(whole, pieces, dim=2) for whole in (query, key, value))
    found = []
    for number, piece in enumerate(pieces):
        k, v = keys[number], values[number]
        if layout.shared and number:
            k, v = torch.cat([keys[0], k], dim=2), torch.cat([values[0], v], dim=2)
        mask = _looks_back(piece, k.shape[2], sliding_window, query.device)
        found.append(_one_row(queries[number], k, v, mask, scale))
    return torch.cat(found, dim=2).transpose(1, 2).contiguous(), None


def _looks_back(rows: int, places: int, window: int | None, device: Any) -> "Tensor":
    """Return which of `places` each of the last `rows` may see: shape (rows, places)."""
    seen = torch.ones(rows, places, dtype=torch.bool, device=device).tril(places - rows)
    return seen if window is None else seen.triu(places - rows - window + 1)


def _one_row(
    query: "Tensor", key: "Tensor", value: "Tensor", mask: "Tensor", scale: float
) -> "Tensor":
    # PyTorch's kernel for a CPU takes twice as long in bfloat16 as plain products.
    if query.dtype == torch.bfloat16 and not query.is_cuda:
        product: Any = GroupedAttention.apply(  # type: ignore[no-untyped-call]
            query, key, value, mask, scale
        )
        attended: Tensor = product
        return attended
    grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scale, enable_gqa=grouped
    )


class GroupedAttention(Function):
    """Softmax attention as plain products, one for each head of the keys.

    Only the inputs are kept for the way back; the probabilities are computed again, so that memory
    grows with the length of a row and not with its square.
    """

    @staticmethod
    def forward(
        context: Any, query: "Tensor", key: "Tensor", value: "Tensor", mask: "Tensor", scale: float
    ) -> "Tensor":
        """Return what `attend` does, for one row: shape of `query`, (1, heads, T, D)."""
        context.save_for_backward(query, key, value, mask)
        context.scale = scale
        q, k = _by_group(query, key), key[0]
        return (_probabilities(q, k, mask, scale) @ value[0]).view(query.shape)

    @staticmethod
    def backward(context: Any, *gradients: "Tensor") -> "tuple[Tensor | None, ...]":
        """Return the gradients of query, key and value."""
        query, key, value, mask = context.saved_tensors
        q, k, v = _by_group(query, key), key[0], value[0]
        p = _probabilities(q, k, mask, context.scale)  # (key heads, group * T, S)
        of_output = _by_group(gradients[0], key)
        of_value = p.transpose(1, 2) @ of_output
        of_p = of_output @ v.transpose(1, 2)
        drift = (of_p * p).sum(dim=-1, keepdim=True, dtype=torch.float32)
        of_scores = p.mul_(of_p.sub_(drift)).mul_(context.scale)
        of_query = (of_scores @ k).view(query.shape)
        of_key = of_scores.transpose(1, 2) @ q
        return of_query, of_key[None], of_value[None], None, None


def _by_group(query: "Tensor", key: "Tensor") -> "Tensor":
    """Stack the query heads of each key head: shape (key heads, group * T, D)."""
    return query.reshape(key.shape[1], -1, query.shape[-1])


def _probabilities(q: "Tensor", k: "Tensor", mask: "Tensor", scale: float) -> "Tensor":
    """Return what each query gives each place: shape (key heads, group * T, S)."""
    unseen = torch.zeros(mask.shape, dtype=q.dtype, device=q.device)
    unseen = unseen.masked_fill_(~mask, float("-inf")).repeat(q.shape[1] // mask.shape[0], 1)
    scores = torch.baddbmm(unseen.expand(len(k), -1, -1), q, k.transpose(1, 2), alpha=scale)
    return scores.softmax(dim=-1)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
