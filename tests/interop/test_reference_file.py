import json

import pytest
import torch
from safetensors.torch import save_file

from mdiff.errors import CheckpointError
from mdiff.interop.reference_file import model_settings, read_reference_file
from mdiff.recipe.model import ModelSettings

CONFIG = {
    "input_size": 32, "patch_size": 2, "in_channels": 4, "dim": 64, "depth": 3, "head_dim": 16, "multiple_of": 32, "caption_channels": 8,
    "pos_interp_scale": 1.0, "qkv_multipliers": [0.5, 0.75, 1.0], "ffn_multipliers": [0.5, 2.25, 4.0], "patch_mixer_depth": 2,
    "patch_mixer_dim": 48, "patch_mixer_qkv_ratio": 1.0, "patch_mixer_mlp_ratio": 4.0, "use_bias": False, "num_experts": 4,
    "expert_capacity": 2.0, "experts_every_n": 2,
}  # fmt: skip


def test_configuration_becomes_our_settings():
    assert model_settings(CONFIG, caption_length=7) == ModelSettings(
        width=64, depth=3, head_dim=16, multiple_of=32, mixer_depth=2, mixer_width=48, num_experts=4, caption_width=8, caption_length=7
    )


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("use_bias", True, "config.use_bias is True; only False"),
        ("patch_mixer_qkv_ratio", 0.5, "config.patch_mixer_qkv_ratio is 0.5; only 1.0"),
        ("qkv_multipliers", [0.5, 0.6, 1.0], "config.qkv_multipliers .* only 3 evenly spaced"),
        ("ffn_multipliers", [0.5, 4.0], "config.ffn_multipliers .* only 3 evenly spaced"),
    ],
)
def test_configuration_that_ours_cannot_express_is_refused(key, value, complaint):
    with pytest.raises(CheckpointError, match=complaint):
        model_settings({**CONFIG, key: value}, caption_length=7)


def test_file_that_is_no_safetensors_file_is_refused(tmp_path):
    (tmp_path / "numbers").write_text("nothing of the kind")
    with pytest.raises(CheckpointError, match="numbers: cannot be read"):
        read_reference_file(tmp_path / "numbers")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="numbers: cannot be read"):
        read_reference_file(tmp_path / "numbers")


@pytest.mark.parametrize("missing", ["config", "edm", "input.y"])
def test_file_that_lacks_a_part_is_refused_by_its_name(tmp_path, missing):
    header = {"config": json.dumps(CONFIG), "edm": "{}"}
    tensors = {"input.y": torch.zeros(1, 1, 7, 8), "input.x": torch.zeros(1)}
    save_file({k: v for k, v in tensors.items() if k != missing}, tmp_path / "f", {k: v for k, v in header.items() if k != missing})
    with pytest.raises(CheckpointError, match=f"no '{missing}'"):
        read_reference_file(tmp_path / "f")


def test_absent_tensor_is_named(tmp_path):
    save_file({"input.y": torch.zeros(1, 1, 7, 8)}, tmp_path / "f", {"config": json.dumps(CONFIG), "edm": "{}"})
    with pytest.raises(CheckpointError, match=r"no input\.x"):
        read_reference_file(tmp_path / "f").tensor("input.x")
