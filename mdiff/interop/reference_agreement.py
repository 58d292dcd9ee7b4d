"""Does our model compute what the published code computed? One comparison per number of a reference file."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mdiff.diffusion.guidance import guided
from mdiff.diffusion.loss import edm_loss
from mdiff.diffusion.noise import sigma_schedule
from mdiff.diffusion.sampler import heun_sample
from mdiff.diffusion.scalings import denoise
from mdiff.interop.reference_file import ReferenceFile
from mdiff.interop.reference_names import from_reference, reference_names, to_reference
from mdiff.model.masking import PatchMask
from mdiff.model.microdit import MicroDiT

OUTPUT_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-3
GUIDANCE = 5.0
SAMPLER_STEPS = 6


@dataclass(frozen=True)
class Comparison:
    """One number, or one tensor of them, of the reference file."""

    name: str
    relative_error: float
    """||ours - theirs|| / ||theirs||."""
    tolerance: float

    @property
    def agrees(self) -> bool:
        return self.relative_error <= self.tolerance


def compare_with_reference(file: ReferenceFile) -> tuple[Comparison, ...]:
    """Run our model in float32 on the CPU on the file's weights and inputs.

    Raises:
        CheckpointError: the weights do not fit the model of the file's header, or numbers are missing from the file.
    """
    model = MicroDiT(file.model, file.latent_size, file.position_scale)
    model.load_state_dict(from_reference(file.state, file.model))
    given = _Given(file)
    results = {**_unmasked_results(model, file, given), **_sampler_results(model, file, given)}
    for name in file.tensors:
        if name.endswith(".ids_keep"):
            results |= _masked_results(model, file, given, name.removesuffix(".ids_keep"))
    return tuple(_comparison(name, ours, file.tensor(name)) for name, ours in results.items())


class _Given:
    """The inputs of a reference file, in the shapes that we use."""

    def __init__(self, file: ReferenceFile) -> None:
        self.latents = file.tensor("input.x")
        self.noise = file.tensor("input.noise")
        self.caption = file.tensor("input.y").squeeze(1)
        self.sigma = file.tensor("input.sigma").reshape(-1, 1, 1, 1)
        self.c_noise = file.tensor("input.t")
        self.sampler_noise = file.tensor("input.z")


@torch.no_grad()
def _unmasked_results(model: MicroDiT, file: ReferenceFile, given: _Given) -> dict[str, Tensor]:
    inputs = (given.latents, given.c_noise, given.caption)
    return {
        "forward.sample": model(*inputs),
        "forward_cfg5.sample": guided(model, GUIDANCE)(*inputs),
        "unmasked.loss": edm_loss(model, given.latents, given.noise, given.sigma, given.caption, file.diffusion.sigma_data),
    }


def _sampler_results(model: MicroDiT, file: ReferenceFile, given: _Given) -> dict[str, Tensor]:
    sigmas = sigma_schedule(SAMPLER_STEPS, file.diffusion)
    network = guided(model, GUIDANCE)
    return {
        "heun6.sigmas": sigmas,
        "heun6_cfg5.latents": heun_sample(network, given.sampler_noise, given.caption, sigmas, file.diffusion.sigma_data),
    }


def _masked_results(model: MicroDiT, file: ReferenceFile, given: _Given, prefix: str) -> dict[str, Tensor]:
    sigma_data = file.diffusion.sigma_data
    hidden = file.tensor(f"{prefix}.mask")
    mask = PatchMask.from_kept(file.tensor(f"{prefix}.ids_keep"), hidden.shape[1])
    noisy = given.latents + given.noise * given.sigma
    with torch.no_grad():
        denoised = denoise(model, noisy, given.sigma, given.caption, sigma_data, mask)

    model.zero_grad()
    loss = edm_loss(model, given.latents, given.noise, given.sigma, given.caption, sigma_data, mask)
    loss.backward()
    return {f"{prefix}.denoised": denoised, f"{prefix}.loss": loss.detach()} | {
        f"{prefix}.grad.{name}": gradient for name, gradient in _compared_gradients(model).items()
    }


def _compared_gradients(model: MicroDiT) -> dict[str, Tensor]:
    """Those of the patch embedding and of the first router, if there is one, in the reference's layout."""
    ours = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    theirs = to_reference(ours, model.settings, model.settings.patch_size)
    routers = [theirs[name] for name in reference_names(model.settings).values() if name.endswith("mlp.gate.weight")]
    return {"x_embedder": theirs["x_embedder.proj.weight"], **({"gate": routers[0]} if routers else {})}


def _comparison(name: str, ours: Tensor, theirs: Tensor) -> Comparison:
    error = (ours.double() - theirs.double().view_as(ours)).norm() / theirs.double().norm()
    return Comparison(name, error.item(), GRADIENT_TOLERANCE if ".grad." in name else OUTPUT_TOLERANCE)
