import pytest
import torch
import torch.nn.functional as F

from mdiff.model.moe import ExpertChoiceFFN


def make_layer(num_experts: int = 4, capacity_factor: float = 2.0) -> ExpertChoiceFFN:
    layer = ExpertChoiceFFN(dim=6, hidden=10, num_experts=num_experts, capacity_factor=capacity_factor)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=generator)
    return layer.double()


def expert_loop(layer: ExpertChoiceFFN, tokens: torch.Tensor, capacity: int) -> torch.Tensor:
    """One sample, one expert and one token after the other."""
    out = torch.zeros_like(tokens)
    for index, sample in enumerate(tokens):
        affinity = F.softmax(sample @ layer.router.weight.T, dim=1)
        for expert in range(affinity.shape[1]):
            for token in affinity[:, expert].argsort(descending=True)[:capacity]:
                answer = F.gelu(sample[token] @ layer.expert_in[expert]) @ layer.expert_out[expert]
                out[index, token] += affinity[token, expert] * answer
    return out


@pytest.mark.parametrize(("num_tokens", "capacity_factor", "capacity"), [(8, 2.0, 4), (7, 2.0, 3), (8, 0.5, 1), (4, 8.0, 4)])
def test_layer_is_a_plain_loop_over_samples_and_experts(num_tokens, capacity_factor, capacity):
    layer = make_layer(capacity_factor=capacity_factor)
    tokens = torch.randn(3, num_tokens, 6, dtype=torch.float64)
    # Gates are rounded to float32.
    torch.testing.assert_close(layer(tokens), expert_loop(layer, tokens, capacity), rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_the_plain_loop():
    layer = make_layer()
    tokens = torch.randn(2, 8, 6, dtype=torch.float64, requires_grad=True)
    wanted = [tokens, *layer.parameters()]
    direction = torch.randn(2, 8, 6, dtype=torch.float64)
    ours = torch.autograd.grad((layer(tokens) * direction).sum(), wanted)
    plain = torch.autograd.grad((expert_loop(layer, tokens, 4) * direction).sum(), wanted)
    for got, expected in zip(ours, plain, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_token_that_no_expert_took_gets_zero():
    layer = make_layer(capacity_factor=0.5)
    tokens = torch.randn(1, 8, 6, dtype=torch.float64)
    taken = set(layer.choose(tokens).token_EBK.flatten().tolist())
    left = [token for token in range(8) if token not in taken]
    assert left
    assert not layer(tokens)[0, left].any()


def test_capacity_of_zero_is_refused():
    with pytest.raises(ValueError, match="gives an expert no token"):
        make_layer(num_experts=8, capacity_factor=1.0)(torch.zeros(1, 4, 6, dtype=torch.float64))
