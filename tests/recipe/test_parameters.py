import pytest
import torch

from mdiff.model import MicroDiT
from mdiff.recipe.model import ModelSettings
from mdiff.recipe.parameters import parameter_count, parameter_parts

XL = ModelSettings()
TINY = ModelSettings(width=512, depth=16, head_dim=32, mixer_depth=4, mixer_width=512)
GOLDEN = ModelSettings(
    width=64, depth=4, head_dim=16, multiple_of=32, mixer_depth=2, mixer_width=48, num_experts=4, caption_width=32, caption_length=7
)
VARIANTS = {
    "XL": XL,
    "Tiny": TINY,
    "golden": GOLDEN,
    "without mixer": TINY.model_copy(update={"mixer_depth": 0}),
    "without experts": TINY.model_copy(update={"num_experts": 0}),
    "experts everywhere": GOLDEN.model_copy(update={"experts_every": 1}),
    "pixels": GOLDEN.model_copy(update={"channels": 3, "patch_size": 4}),
    "one block": GOLDEN.model_copy(update={"depth": 1}),
}


@pytest.mark.parametrize(
    ("model", "published"),
    [(XL, 1_165_442_320), (XL.model_copy(update={"channels": 16}), 1_165_540_672), (TINY, 200_692_752), (GOLDEN, 648_800)],
    ids=["XL", "XL with 16 channels", "Tiny", "golden"],
)
def test_presets_have_the_published_number_of_parameters(model, published):
    assert parameter_count(model) == published


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_count_of_each_part_is_that_of_the_built_network(settings):
    with torch.device("meta"):
        model = MicroDiT(settings, 32)
    parts = (model, model.mixer or torch.nn.Identity(), model.backbone)
    total, mixer, backbone = (sum(parameter.numel() for parameter in part.parameters()) for part in parts)
    assert parameter_parts(settings) == (total - mixer - backbone, mixer, backbone)
    assert parameter_count(settings) == total
