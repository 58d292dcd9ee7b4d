"""Expert-choice feed-forward layer: experts choose tokens, not tokens experts.

Shape key, this file:  B batch   T tokens   D channels   E experts   K tokens that an expert takes from one sample   H hidden channels
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdiff.recipe.model import expert_capacity


class Choice(NamedTuple):
    """Which tokens the experts of a layer took."""

    gate_EBK: Tensor
    """Affinity between expert and token, float32."""
    token_EBK: Tensor
    """int64 position of the token in its sample."""


class ExpertChoiceFFN(nn.Module):
    """Each expert takes the tokens of a sample that it fits best; a token may get several experts, or none.

    Source: Zhou et al. (arXiv:2202.09368) section 3.2, choosing within each sample. Tokens are moved by index: one-hot
    matrices would cost 5 % of all FLOPs of a whole training.
    """

    def __init__(self, dim: int, hidden: int, num_experts: int, capacity_factor: float) -> None:
        super().__init__()
        self.capacity_factor = capacity_factor
        self.router = nn.Linear(dim, num_experts, bias=False)
        self.expert_in = nn.Parameter(torch.empty(num_experts, dim, hidden))
        self.expert_out = nn.Parameter(torch.empty(num_experts, hidden, dim))

    def forward(self, tokens_BTD: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D).

        Raises:
            ValueError: an expert would take no token (unlike the reference, which then returns zeros).
        """
        batch, num_tokens, dim = tokens_BTD.shape
        choice = self.choose(tokens_BTD)
        num_experts = choice.token_EBK.shape[0]

        # Rows of all samples lie one after the other, those of an expert together.
        first_row_B1 = torch.arange(0, batch * num_tokens, num_tokens, device=tokens_BTD.device)[:, None]
        rows = (choice.token_EBK + first_row_B1).flatten()
        taken = tokens_BTD.reshape(-1, dim).index_select(0, rows).view(num_experts, -1, dim)

        answers = torch.bmm(F.gelu(torch.bmm(taken, self.expert_in)), self.expert_out)

        # Added up in float32, as gates are. A token that no expert took gets 0.
        weighted = (answers * choice.gate_EBK.reshape(num_experts, -1, 1)).view(-1, dim)
        sums = weighted.new_zeros(batch * num_tokens, dim).index_add_(0, rows, weighted)
        return sums.view_as(tokens_BTD).to(tokens_BTD.dtype)

    def choose(self, tokens_BTD: Tensor) -> Choice:
        """Each expert's best tokens in each sample."""
        affinity_BTE = self.router(tokens_BTD).float().softmax(dim=-1)
        capacity = expert_capacity(tokens_BTD.shape[1], affinity_BTE.shape[-1], self.capacity_factor)
        gate_EBK, token_EBK = affinity_BTE.permute(2, 0, 1).topk(capacity, dim=-1, sorted=False)
        return Choice(gate_EBK, token_EBK)
