"""A small model of every part, and inputs for it."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from mdiff.model import MicroDiT
from mdiff.recipe.model import ModelSettings

LATENT_SIZE = 8


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Several threads only make such small tensors slower, ten times so on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def same_numbers_each_time() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def settings() -> ModelSettings:
    return ModelSettings(
        width=32, depth=3, head_dim=8, multiple_of=8, mixer_depth=2, mixer_width=24, num_experts=4, caption_width=12, caption_length=5
    )


@pytest.fixture(scope="session")
def make_model() -> Callable[[ModelSettings], MicroDiT]:
    """Weights that nothing hides behind: no zeros, no ones."""

    def make(settings: ModelSettings) -> MicroDiT:
        generator = torch.Generator().manual_seed(1)
        model = MicroDiT(settings, LATENT_SIZE)
        model.init_weights(generator)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        return model

    return make


@pytest.fixture
def model(make_model: Callable[[ModelSettings], MicroDiT], settings: ModelSettings) -> MicroDiT:
    return make_model(settings)


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Noisy latents, noise levels and captions of three samples."""
    generator = torch.Generator().manual_seed(2)
    return (
        torch.randn(3, 4, LATENT_SIZE, LATENT_SIZE, generator=generator),
        torch.randn(3, generator=generator) / 2,
        torch.randn(3, 5, 12, generator=generator),
    )
