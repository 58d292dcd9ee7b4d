"""Which site, hardware and price apply."""

from decimal import Decimal
from pathlib import Path

import pytest

from mdiff.errors import RecipeError, UsageError
from mdiff.launch.place import open_run, resolve_place, usable_cores, visible_gpus

SLURM = """
backend = "slurm"
runs_dir = "/lustre/runs"
datasets = { shapes = "/lustre/shapes" }
hardware = { device = "H100", nodes = 2, devices_per_node = 8 }
price = { usd_per_gpu_hour = 2.99, source = "contract", read_on = "2026-11-20" }
"""


def test_laptop_without_a_site_file_is_at_most_two_processes_at_the_example_price():
    place = resolve_place("local", gpus=list)
    assert place.hardware.device == "cpu"
    assert place.hardware.devices_per_node == min(2, usable_cores())
    assert place.price.basis == "example"
    assert place.unit == "process"


def test_gpus_of_this_machine_have_no_price_until_somebody_names_it():
    with pytest.raises(RecipeError, match="--usd-per-gpu-hour"):
        resolve_place("local", gpus=lambda: ["NVIDIA H100 80GB HBM3"] * 2)
    place = resolve_place("local", gpus=lambda: ["NVIDIA H100 80GB HBM3"] * 2, usd_per_gpu_hour=Decimal("2"))
    assert (place.hardware.device, place.hardware.num_devices) == ("NVIDIA H100 80GB HBM3", 2)
    assert (place.price.usd_per_gpu_hour, place.price.basis) == (2, "flag")


def test_gpus_are_asked_from_the_driver(home):
    assert visible_gpus() == []
    (home / "bin" / "nvidia-smi").write_text("#!/bin/sh\necho 'NVIDIA A100-SXM4-80GB'\necho 'NVIDIA A100-SXM4-80GB'\n")
    assert visible_gpus() == ["NVIDIA A100-SXM4-80GB"] * 2


@pytest.mark.parametrize("backend", ["slurm", "kubernetes"])
def test_cluster_without_a_site_file_is_the_papers_node_at_the_papers_price(backend):
    place = resolve_place(backend)
    assert str(place) == f"{backend}, 1 node of 8 x H100"
    assert (place.price.usd_per_gpu_hour, place.price.basis) == (Decimal("3.75"), "assumed")


def test_site_file_decides_and_flags_win(site_file):
    site_file(SLURM)
    place = resolve_place()
    assert (place.backend, place.hardware.nodes, place.price.usd_per_gpu_hour) == ("slurm", 2, Decimal("2.99"))
    place = resolve_place(nodes=4, usd_per_gpu_hour=Decimal("9"))
    assert (place.hardware.nodes, place.price.usd_per_gpu_hour) == (4, Decimal("9"))


def test_without_backend_and_site_file_the_backend_is_asked_for():
    with pytest.raises(UsageError, match="--backend: say where to run"):
        resolve_place()


def test_site_file_of_another_cluster_is_refused(site_file):
    path = site_file(SLURM)
    with pytest.raises(RecipeError, match=r'site.toml: backend = "slurm": does not fit --backend kubernetes'):
        resolve_place("kubernetes")
    with pytest.raises(RecipeError, match="--backend local"):
        resolve_place("local", path)


def test_clusters_site_file_still_says_where_runs_and_data_of_the_local_backend_lie(site_file):
    site_file(SLURM)
    place = resolve_place("local", gpus=list)
    assert place.price.basis == "example"
    assert open_run("shapes", None, place.site).path == Path("/lustre/runs/shapes")
    assert place.site.dataset_folder("shapes") == Path("/lustre/shapes")


def test_runs_root_is_the_flag_then_the_variable_then_the_site_then_runs(site_file, home, monkeypatch):
    site_file(SLURM)
    site = resolve_place().site
    assert open_run("a", None, None).path == home / "runs" / "a"
    assert open_run("a", None, site).path == Path("/lustre/runs/a")
    monkeypatch.setenv("MDIFF_RUNS", str(home / "elsewhere"))
    assert open_run("a", None, site).path == home / "elsewhere" / "a"
    assert open_run("a", home / "flag", site).path == home / "flag" / "a"
