"""What all tests share."""

import os

import pytest

# Small tensors on two cores: threads only get in each other's way, and child processes inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread() -> None:
    """The base install has no torch, and its tests must pass without."""
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)
