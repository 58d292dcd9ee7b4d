import math

import pytest
import torch

from mdiff.model import MicroDiT
from mdiff.model.init import residual_std
from mdiff.recipe.model import ModelSettings

SETTINGS = ModelSettings(width=64, depth=4, head_dim=16, multiple_of=32, mixer_depth=2, mixer_width=48, num_experts=4, caption_width=32)


def initialised(seed: int, device: str = "cpu") -> MicroDiT:
    with torch.device(device):
        model = MicroDiT(SETTINGS, 8)
    if device == "meta":
        model = model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(math.nan)
    model.init_weights(torch.Generator().manual_seed(seed))
    return model


@pytest.fixture(scope="module")
def model() -> MicroDiT:
    return initialised(0)


def test_no_weight_is_left_as_it_was(model):
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_same_seed_gives_the_same_model_also_by_way_of_the_meta_device(model):
    other = initialised(0, device="meta")
    for (name, weight), again in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(weight, again), name
    assert torch.equal(model.patch_embedding.positions_TD, other.patch_embedding.positions_TD)


def test_another_seed_gives_another_model(model):
    assert not torch.equal(model.patch_embedding.projection.weight, initialised(1).patch_embedding.projection.weight)


@pytest.mark.parametrize(
    ("name", "std"),
    [
        ("noise_embedding.hidden.weight", 0.02),
        ("caption_embedding.output.weight", 0.02),
        ("pooled_caption.hidden.weight", 0.02),
        ("caption_block.self_attention.qkv.weight", 0.02),
        ("caption_block.ffn.gate.weight", 0.02),
        ("caption_block.ffn.value.weight", 0.02),
        ("backbone.2.self_attention.qkv.weight", 0.02),
        ("backbone.2.cross_attention.query.weight", 0.02),
        ("backbone.2.cross_attention.key_value.weight", 0.02),
        ("backbone.2.ffn.gate.weight", 0.02),
        ("backbone.1.ffn.expert_in", 0.02),
        ("mixer.blocks.1.ffn.expert_in", 0.02),
        ("backbone.0.self_attention.output.weight", 0.02 / math.sqrt(2)),
        ("backbone.2.self_attention.output.weight", 0.02 / math.sqrt(6)),
        ("backbone.2.cross_attention.output.weight", 0.02 / math.sqrt(6)),
        ("backbone.2.ffn.value.weight", 0.02 / math.sqrt(6)),
        ("backbone.2.ffn.output.weight", 0.02 / math.sqrt(6)),
        ("backbone.1.ffn.expert_out", 0.02 / math.sqrt(4)),
        ("mixer.blocks.0.self_attention.output.weight", 0.02 / math.sqrt(8)),
        ("mixer.blocks.0.ffn.value.weight", 0.02 / math.sqrt(8)),
        ("mixer.blocks.1.ffn.expert_out", 0.02 / math.sqrt(8)),
        ("patch_embedding.projection.weight", math.sqrt(2 / (16 + 64))),
        ("mixer.tokens_in.projection.weight", math.sqrt(2 / (64 + 48))),
        ("mixer.caption_in.projection.weight", math.sqrt(2 / (64 + 48))),
        ("mixer.tokens_out.projection.weight", math.sqrt(2 / (64 + 48))),
    ],
)
def test_weight_has_its_spread(model, name, std):
    weight = model.get_parameter(name)
    error = 4 / math.sqrt(weight.numel())  # four standard errors and more
    assert weight.std().item() == pytest.approx(std, rel=error)
    assert abs(weight.mean().item()) < error * std


def test_routers_spread_like_the_queries(model):
    routers = [parameter.flatten() for name, parameter in model.named_parameters() if name.endswith("router.weight")]
    assert torch.cat(routers).std().item() == pytest.approx(0.02, rel=0.2)


def test_what_modulates_and_the_last_projections_start_at_zero(model):
    zero = {name for name, parameter in model.named_parameters() if not parameter.any()}
    blocks = [f"mixer.blocks.{i}" for i in range(2)] + [f"backbone.{i}" for i in range(4)] + ["final_layer"]
    modulations = {f"{block}.modulation.projection.weight" for block in blocks}
    outputs = {"final_layer.projection.weight", "caption_block.self_attention.output.weight", "caption_block.ffn.output.weight"}
    biases = {name for name, _ in model.named_parameters() if name.endswith("bias")}
    assert zero == modulations | outputs | biases


def test_norms_start_at_one(model):
    norms = [parameter for name, parameter in model.named_parameters() if name.split(".")[-2].endswith("norm")]
    assert len(norms) == 3 * 6 + 2 + 2 + 3 + 1  # blocks, caption block, caption MLPs, maps of the mixer, final layer
    assert all((norm == 1).all() for norm in norms)


def test_spread_shrinks_with_depth():
    assert residual_std(0) == 0.02 / math.sqrt(2)
    assert residual_std(27) == 0.02 / math.sqrt(56)
