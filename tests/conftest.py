"""What all tests share."""

import os

import pytest

# Small tensors on two cores: threads only get in each other's way, and child processes inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first: a mistake that they find need not wait for engines."""
    last = ("train", "test_demo", "slurm", "kubernetes")
    items.sort(
        key=lambda item: max((last.index(name) + 1 for name in last if name in item.path.as_posix().partition("/tests/")[2]), default=0)
    )


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread() -> None:
    """The base install has no torch, and its tests must pass without."""
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)
