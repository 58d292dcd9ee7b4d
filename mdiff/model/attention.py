"""Self- and cross-attention with normalised queries and keys.

Shape key, this file:  B batch   T tokens   S tokens attended to   L caption tokens   D channels   H heads   N channels of a head
W channels of q, k, v: H x N
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPS = 1e-6
LONGEST_PLAIN = 256
"""Tokens; see `_plain_is_faster`."""


class SelfAttention(nn.Module):
    """`width`, the channels of q, k and v, may be less than `dim` (layer-wise scaling)."""

    def __init__(self, dim: int, width: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.qkv = nn.Linear(dim, 3 * width, bias=False)
        self.output = nn.Linear(width, dim, bias=False)

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        query_BTW, key_BTW, value_BTW = self.qkv(tokens_BTD).chunk(3, dim=-1)
        return self.output(_normalised_attention(query_BTW, key_BTW, value_BTW, self.head_dim))


class CrossAttention(nn.Module):
    """Tokens look at the caption. Layer-wise scaling does not touch it."""

    def __init__(self, dim: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.query = nn.Linear(dim, dim, bias=False)
        self.key_value = nn.Linear(dim, 2 * dim, bias=False)
        self.output = nn.Linear(dim, dim, bias=False)

    def forward(self, tokens_BTD: Tensor, caption_BLD: Tensor) -> Tensor:
        """(B, T, D), (B, L, D) -> (B, T, D)."""
        key_BLD, value_BLD = self.key_value(caption_BLD).chunk(2, dim=-1)
        return self.output(_normalised_attention(self.query(tokens_BTD), key_BLD, value_BLD, self.head_dim))


def _normalised_attention(query_BTW: Tensor, key_BSW: Tensor, value_BSW: Tensor, head_dim: int) -> Tensor:
    """Attention per head, (B, T, W). q and k are normalised over all heads together, as MicroDiT does."""
    width = (query_BTW.shape[-1],)
    query_BTW = F.layer_norm(query_BTW, width, eps=NORM_EPS)
    key_BSW = F.layer_norm(key_BSW, width, eps=NORM_EPS)
    attend = _attend_plainly if _plain_is_faster(query_BTW, value_BSW) else F.scaled_dot_product_attention
    attended_BHTN = attend(_split_heads(query_BTW, head_dim), _split_heads(key_BSW, head_dim), _split_heads(value_BSW, head_dim))
    return attended_BHTN.transpose(1, 2).flatten(2)


def _plain_is_faster(query_BTW: Tensor, value_BSW: Tensor) -> bool:
    # Forward and backward pass on a CPU in bf16: the fused attention takes 8 to 10 times as long with 16 to 64 tokens, 2 times with 256,
    # 0.7 times with 1024. In fp32 it is the faster one at every length.
    short = max(query_BTW.shape[1], value_BSW.shape[1]) <= LONGEST_PLAIN
    return short and value_BSW.dtype == torch.bfloat16 and value_BSW.device.type == "cpu"


def _attend_plainly(query_BHTN: Tensor, key_BHSN: Tensor, value_BHSN: Tensor) -> Tensor:
    """`F.scaled_dot_product_attention` spelled out."""
    logits_BHTS = (query_BHTN * query_BHTN.shape[-1] ** -0.5) @ key_BHSN.transpose(-2, -1)
    return logits_BHTS.softmax(dim=-1) @ value_BHSN


def _split_heads(x_BTW: Tensor, head_dim: int) -> Tensor:
    """(B, T, W) -> (B, H, T, N)."""
    return x_BTW.unflatten(-1, (-1, head_dim)).transpose(1, 2)
