"""The published code's own numbers, on its own weights: see tests/golden/."""

from pathlib import Path

import pytest
import torch

from mdiff.interop.reference_agreement import compare_with_reference
from mdiff.interop.reference_file import read_reference_file
from mdiff.model import PatchMask

GOLDEN = Path(__file__).parents[1] / "golden" / "microdit_reference.safetensors"
MASKED = ("masked0.5", "masked0.75", "masked0.875")
NAMES = [
    "forward.sample",
    "forward_cfg5.sample",
    "unmasked.loss",
    "heun6.sigmas",
    "heun6_cfg5.latents",
    *(f"{mask}.{what}" for mask in MASKED for what in ("denoised", "loss", "grad.x_embedder", "grad.gate")),
]
TIGHT = 5e-6
"""Far below the tolerance: a wrong eps or the other GELU is beyond it and within that."""


@pytest.fixture(scope="module")
def reference():
    return read_reference_file(GOLDEN)


@pytest.fixture(scope="module")
def comparisons(reference):
    return {comparison.name: comparison for comparison in compare_with_reference(reference)}


def test_every_number_of_the_file_is_compared(reference, comparisons):
    inputs = ("state.", "input.")
    numbers = {name for name in reference.tensors if not name.startswith(inputs) and not name.endswith((".ids_keep", ".mask"))}
    assert set(comparisons) == numbers == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_model_computes_what_the_published_code_computed(comparisons, name):
    assert comparisons[name].agrees
    assert comparisons[name].relative_error < TIGHT


@pytest.mark.parametrize("prefix", MASKED)
def test_kept_positions_make_the_published_mask(reference, prefix):
    published = reference.tensor(f"{prefix}.mask")
    mask = PatchMask.from_kept(reference.tensor(f"{prefix}.ids_keep"), published.shape[1])
    assert torch.equal(mask.hidden_BT, published.bool())


def test_a_changed_weight_is_noticed(reference):
    state = {name: tensor.clone() for name, tensor in reference.tensors.items()}
    state["state.final_layer.linear.weight"] *= 1.1
    changed = type(reference)(reference.model, reference.diffusion, reference.latent_size, reference.position_scale, state)
    assert not all(comparison.agrees for comparison in compare_with_reference(changed))
