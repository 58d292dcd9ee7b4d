from pathlib import Path

import pytest
import torch

from mdiff.errors import CheckpointError
from mdiff.interop.reference_file import read_reference_file
from mdiff.interop.reference_names import from_reference, reference_names, to_reference
from mdiff.model import MicroDiT
from mdiff.recipe.model import ModelSettings

GOLDEN = Path(__file__).parents[1] / "golden" / "microdit_reference.safetensors"
SMALL = ModelSettings(width=32, depth=3, head_dim=8, multiple_of=8, mixer_depth=2, mixer_width=24, num_experts=4, caption_width=12)
VARIANTS = {
    "whole": {},
    "without mixer": {"mixer_depth": 0},
    "without experts": {"num_experts": 0},
    "mixer as wide as the backbone": {"mixer_width": 32},
    "pixels": {"channels": 3, "patch_size": 4},
}


@pytest.fixture(scope="module")
def reference():
    return read_reference_file(GOLDEN)


def small(**changes):
    settings = SMALL.model_copy(update=changes)
    model = MicroDiT(settings, 8, 2.0)
    model.init_weights(torch.Generator().manual_seed(0))
    return settings, model.state_dict()


def test_published_state_comes_back_whole(reference):
    ours = from_reference(reference.state, reference.model)
    back = to_reference(ours, reference.model, reference.latent_size, reference.position_scale)
    assert back.keys() == reference.state.keys()
    for name, tensor in reference.state.items():
        torch.testing.assert_close(back[name], tensor, rtol=0, atol=1e-7 if name == "pos_embed" else 0)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_any_model_survives_the_way_there_and_back(variant):
    settings, state = small(**variant)
    theirs = to_reference(state, settings, 8, 2.0)
    assert len(theirs) == len(state) + 2  # two weights with one name would leave fewer
    ours = from_reference(theirs, settings)
    assert ours.keys() == state.keys()
    assert all(torch.equal(ours[name], state[name]) for name in state)


def test_no_name_of_ours_remains_in_the_export():
    settings, _ = small()
    roles = ("mixer.", "attention", "ffn", "caption", "embedding", "backbone", "projection", "router", "expert", "output", "hidden")
    assert [name for name in reference_names(settings).values() if any(role in name.replace("patch_mixer", "") for role in roles)] == []


def test_position_table_and_mask_token_may_be_absent(reference):
    trained = {name: tensor for name, tensor in reference.state.items() if name not in ("pos_embed", "mask_token")}
    assert from_reference(trained, reference.model).keys() == from_reference(reference.state, reference.model).keys()


def test_missing_and_surplus_names_are_listed(reference):
    state = reference.state
    state["blocks.9.norm1.weight"] = state.pop("blocks.0.norm1.weight")
    with pytest.raises(CheckpointError, match=r"missing: blocks\.0\.norm1\.weight; too many: blocks\.9\.norm1\.weight"):
        from_reference(state, reference.model)


@pytest.mark.parametrize(
    ("name", "shape"), [("blocks.1.mlp.w1", (4, 128, 64)), ("x_embedder.proj.weight", (64, 16))], ids=["transposed", "flattened kernel"]
)
def test_wrong_shape_is_named_with_both_shapes(reference, name, shape):
    expected = tuple(reference.state[name].shape)
    with pytest.raises(CheckpointError) as refusal:
        from_reference({**reference.state, name: torch.zeros(shape)}, reference.model)
    assert f"{name} is {shape} instead of {expected}" in str(refusal.value)


def test_export_of_another_model_is_refused():
    settings, state = small()
    with pytest.raises(CheckpointError, match=r"missing: .*backbone\.3"):
        to_reference(state, settings.model_copy(update={"depth": 4}), 8)
