import math

import pytest
import torch

from mdiff.model.attention import CrossAttention, SelfAttention

HEAD_DIM = 4


def normalised(row: torch.Tensor) -> torch.Tensor:
    return (row - row.mean()) / (row.var(unbiased=False) + 1e-6).sqrt()


def attention_loop(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """One sample, one token and one head after the other."""
    out = torch.empty(query.shape[0], value.shape[1], dtype=query.dtype)
    for token, q in enumerate(query):
        for start in range(0, value.shape[1], HEAD_DIM):
            head = slice(start, start + HEAD_DIM)
            logits = torch.stack([normalised(q)[head] @ normalised(k)[head] for k in key]) / math.sqrt(HEAD_DIM)
            out[token, head] = logits.softmax(0) @ value[:, head]
    return out


def test_self_attention_is_a_plain_loop_over_tokens_and_heads():
    attention = SelfAttention(dim=12, width=8, head_dim=HEAD_DIM).double()
    tokens = torch.randn(2, 5, 12, dtype=torch.float64)
    for sample, result in zip(tokens, attention(tokens), strict=True):
        query, key, value = (sample @ attention.qkv.weight.T).split(8, dim=1)
        torch.testing.assert_close(result, attention_loop(query, key, value) @ attention.output.weight.T)


def test_cross_attention_is_a_plain_loop_over_tokens_and_heads():
    attention = CrossAttention(dim=8, head_dim=HEAD_DIM).double()
    tokens, caption = torch.randn(2, 5, 8, dtype=torch.float64), torch.randn(2, 3, 8, dtype=torch.float64)
    for sample, words, result in zip(tokens, caption, attention(tokens, caption), strict=True):
        key, value = (words @ attention.key_value.weight.T).split(8, dim=1)
        expected = attention_loop(sample @ attention.query.weight.T, key, value) @ attention.output.weight.T
        torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("num_tokens", [16, 300], ids=["plain", "fused"])
def test_bf16_attention_on_a_cpu_agrees_with_float32(num_tokens):
    attention = SelfAttention(dim=16, width=16, head_dim=HEAD_DIM)
    tokens = torch.randn(2, num_tokens, 16)
    exact = attention(tokens)
    rounded = attention.bfloat16()(tokens.bfloat16()).float()
    assert (rounded - exact).norm() / exact.norm() < 0.02
