import pytest
import torch

from mdiff.data.latent_codec import PixelCodec
from mdiff.data.shapes.draw import draw
from mdiff.data.shapes.generate import ShapesSettings, scenes


def test_every_pixel_value_survives_float16():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    codec = PixelCodec()
    assert torch.equal(codec.decode(codec.encode(pixels).half()), pixels)


def test_latents_beyond_the_range_are_clipped():
    assert PixelCodec().decode(torch.tensor([-100.0, 100.0])).tolist() == [0, 255]


@pytest.mark.parametrize("resolution", [16, 32])
def test_latents_of_shapes_have_mean_0_and_standard_deviation_1(resolution):
    placed = [things for _, things in scenes(ShapesSettings(images=3000), range(3000))]
    latents = PixelCodec().encode(torch.from_numpy(draw(placed, resolution)))
    assert latents.mean().item() == pytest.approx(0, abs=0.05)
    assert latents.std().item() == pytest.approx(1, abs=0.05)
