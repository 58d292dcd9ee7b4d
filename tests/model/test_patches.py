import math

import pytest
import torch

from mdiff.model.patches import PatchEmbedding, from_patches, position_table, to_patches


def test_patches_go_back_to_the_latents_they_came_from():
    latents = torch.randn(2, 3, 12, 12)
    assert torch.equal(from_patches(to_patches(latents, 4), 4, grid_size=3), latents)


def test_a_patch_lists_row_column_channel_and_patches_go_row_by_row():
    latents = torch.randn(1, 3, 4, 6)
    patches = to_patches(latents, 2)
    for row in range(2):
        for column in range(3):
            square = latents[0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert torch.equal(patches[0, 3 * row + column], square.permute(1, 2, 0).flatten())


def test_embedding_is_a_convolution_with_the_stride_of_a_patch():
    embedding = PatchEmbedding(patch_size=2, patch_channels=12, width=8)
    embedding.set_grid(6, scale=1.0)
    latents = torch.randn(2, 3, 6, 6)
    kernel = embedding.projection.weight.unflatten(1, (2, 2, 3)).permute(0, 3, 1, 2)
    convolved = torch.nn.functional.conv2d(latents, kernel, embedding.projection.bias, stride=2).flatten(2).transpose(1, 2)
    torch.testing.assert_close(embedding(latents), convolved + embedding.positions_TD)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_position_table_is_the_sine_cosine_formula(scale):
    width, grid = 16, 3
    table = position_table(width, grid, scale)
    for token in range(grid**2):
        row, column = divmod(token, grid)
        expected = []
        for coordinate in (column, row):
            angles = [coordinate / scale * 10000 ** (-i / 4) for i in range(4)]
            expected += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
        assert table[token].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_grid_twice_as_fine_at_scale_two_passes_through_the_same_positions():
    fine, coarse = position_table(16, 8, 2.0).view(8, 8, 16), position_table(16, 4, 1.0).view(4, 4, 16)
    assert torch.equal(fine[::2, ::2], coarse)


def test_latent_size_that_the_patch_size_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="patch_size 2 does not divide the latent size 7"):
        PatchEmbedding(2, 16, 8).set_grid(7, 1.0)


@pytest.mark.parametrize("shape", [(1, 4, 8, 6), (1, 4, 4, 4), (1, 3, 8, 8)])
def test_latents_that_do_not_fit_the_grid_are_refused(shape):
    embedding = PatchEmbedding(2, 16, 8)
    embedding.set_grid(8, 1.0)
    with pytest.raises(ValueError, match=r"grid is for \(4, 8, 8\)"):
        embedding(torch.zeros(shape))
