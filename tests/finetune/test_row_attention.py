import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from finetune.row_attention import GroupedAttention, Layout, attend


def heads(count: int, tokens: int) -> torch.Tensor:
    return torch.randn(1, count, tokens, 8, requires_grad=True)


@pytest.mark.parametrize("shared", [0, 5])
@pytest.mark.parametrize("window", [None, 4])
def test_a_row_sees_the_shared_beginning_and_itself(shared: int, window: int | None) -> None:
    torch.manual_seed(0)
    lengths = (7, 3, 1)
    total = shared + sum(lengths)
    query, key, value = heads(4, total), heads(2, total), heads(2, total)
    layout = Layout(shared, lengths)
    found, _ = attend(None, query, key, value, None, layout=layout, sliding_window=window)
    start = shared
    for length in lengths:
        own = [*range(shared), *range(start, start + length)]
        seen = torch.ones(len(own), len(own), dtype=torch.bool).tril()
        if window is not None:
            seen = seen.triu(1 - window)
        alone = scaled_dot_product_attention(
            query[:, :, own], key[:, :, own], value[:, :, own], attn_mask=seen, enable_gqa=True
        )
        torch.testing.assert_close(found[0, own], alone[0].transpose(0, 1))
        start += length


def test_plain_products_have_the_output_and_the_gradients_of_the_kernel() -> None:
    torch.manual_seed(0)
    mask = torch.ones(6, 9, dtype=torch.bool).tril(3)
    both = []
    for ours in (True, False):
        torch.manual_seed(1)
        inputs = query, key, value = heads(4, 6), heads(2, 9), heads(2, 9)
        if ours:
            out = GroupedAttention.apply(query, key, value, mask, 0.3)
        else:
            out = scaled_dot_product_attention(
                query, key, value, attn_mask=mask, scale=0.3, enable_gqa=True
            )
        (out * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum().backward()
        both.append([out, *(part.grad for part in inputs)])
    for our, their in zip(*both, strict=True):
        torch.testing.assert_close(our, their)
