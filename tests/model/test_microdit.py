import pytest
import torch

from mdiff.model import MicroDiT, PatchMask, random_mask

VARIANTS = {
    "whole": {},
    "without mixer": {"mixer_depth": 0},
    "without experts": {"num_experts": 0},
    "mixer as wide as the backbone": {"mixer_width": 32},
    "one block": {"depth": 1, "mixer_depth": 0},
    "pixels": {"channels": 3, "patch_size": 4},
}


@pytest.fixture
def mask():
    return random_mask(3, 16, 0.5, torch.Generator().manual_seed(3))


def test_network_starts_with_output_zero(settings, inputs):
    model = MicroDiT(settings, 8)
    model.init_weights(torch.Generator().manual_seed(0))
    assert not model(*inputs).any()


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
def test_every_weight_gets_a_gradient(make_model, settings, inputs, variant, masked):
    settings = type(settings)(**{**settings.model_dump(), **variant})
    model = make_model(settings)
    num_tokens = (8 // settings.patch_size) ** 2
    mask = random_mask(3, num_tokens, 0.5, torch.Generator().manual_seed(3)) if masked else None
    latents = inputs[0][:, : settings.channels]
    out = model(latents, *inputs[1:], mask)
    assert out.shape == latents.shape
    out.square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()] == []


def test_equal_widths_need_no_maps(make_model, settings):
    names = make_model(settings.model_copy(update={"mixer_width": settings.width})).state_dict()
    assert not [name for name in names if "tokens_in" in name or "tokens_out" in name or "caption_in" in name]


def test_hidden_patches_are_zero_and_kept_ones_are_not(model, inputs, mask):
    patches = model(*inputs, mask).unflatten(2, (4, 2)).unflatten(4, (4, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    assert torch.equal(patches.any(dim=-1), ~mask.hidden_BT)


def test_order_of_the_kept_positions_does_not_matter(model, inputs, mask):
    reversed_order = PatchMask.from_kept(mask.kept_BK.flip(1), 16)
    torch.testing.assert_close(model(*inputs, reversed_order), model(*inputs, mask))


def test_mask_that_hides_nothing_changes_nothing(model, inputs):
    nothing_hidden = random_mask(3, 16, 0.0, torch.Generator().manual_seed(3))
    torch.testing.assert_close(model(*inputs, nothing_hidden), model(*inputs))


@pytest.mark.parametrize("mixer_depth", [0, 2])
def test_hidden_patches_reach_the_kept_ones_through_the_mixer_alone(make_model, settings, inputs, mixer_depth):
    model = make_model(settings.model_copy(update={"mixer_depth": mixer_depth}))
    latents, *rest = inputs
    mask = PatchMask.from_kept(torch.arange(4).expand(3, 4), 16)  # the first row of patches
    below = latents.clone()
    below[:, :, 2:] += 1.0
    same = torch.equal(model(below, *rest, mask), model(latents, *rest, mask))
    assert same == (mixer_depth == 0)


def test_samples_of_a_batch_do_not_see_each_other(model, inputs, mask):
    together = model(*inputs, mask)
    for i in range(3):
        alone = model(*(tensor[i : i + 1] for tensor in inputs), PatchMask.from_kept(mask.kept_BK[i : i + 1], 16))
        torch.testing.assert_close(alone, together[i : i + 1])


@pytest.mark.parametrize("changed", [0, 1, 2], ids=["latents", "noise level", "caption"])
def test_output_depends_on_each_input(model, inputs, changed):
    other = [tensor + 0.5 if i == changed else tensor for i, tensor in enumerate(inputs)]
    assert (model(*other) - model(*inputs)).abs().max() > 1e-3


def test_another_grid_keeps_the_weights(model, settings, inputs):
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.set_grid(16, position_scale=2.0)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())

    fresh = MicroDiT(settings, 16, position_scale=2.0)
    fresh.load_state_dict(before)
    latents = torch.randn(3, 4, 16, 16)
    assert torch.equal(model(latents, *inputs[1:]), fresh(latents, *inputs[1:]))


def test_checkpoint_holds_no_position_table(model):
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}


def test_grid_that_patches_do_not_fill_is_refused(settings):
    with pytest.raises(ValueError, match="patch_size 2 does not divide the latent size 9"):
        MicroDiT(settings, 9)


def test_mask_that_leaves_experts_without_a_token_is_refused(model, inputs):
    with pytest.raises(ValueError, match="gives an expert no token"):
        model(*inputs, PatchMask.from_kept(torch.zeros(3, 1, dtype=torch.int64), 16))


def test_blocks_are_all_blocks_in_order(model):
    assert model.blocks == [model.caption_block, *model.mixer.blocks, *model.backbone]


def test_bf16_autocast_stays_near_float32(model, inputs, mask):
    exact = model(*inputs, mask)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(*inputs, mask)
        rounded.float().sum().backward()
    assert (rounded.float() - exact).norm() / exact.norm() < 0.05
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


def test_model_of_bf16_weights_answers_in_bf16(model, inputs, mask):
    exact = model(*inputs, mask)
    rounded = model.bfloat16()(*(tensor.bfloat16() for tensor in inputs), mask)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).norm() / exact.norm() < 0.05


def test_whole_forward_compiles_to_one_graph(make_model, settings, inputs, mask):
    model = make_model(settings.model_copy(update={"depth": 2}))
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs, mask), model(*inputs, mask))
