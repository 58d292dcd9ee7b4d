"""Site files: prices with their source, and mistakes as one line."""

from decimal import Decimal
from pathlib import Path

import pytest

from mdiff.errors import RecipeError
from mdiff.recipe.site import built_in_site, load_site, user_site_file

EXAMPLES = sorted((Path(__file__).parent.parent.parent / "deploy/sites").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_shipped_example_is_right(path):
    site = load_site(path)
    assert site.price is not None
    assert site.price.read_on


def test_there_are_examples():
    assert EXAMPLES


def test_built_in_site_is_one_h100_node_at_the_paper_price_and_says_that_it_is_assumed():
    site = built_in_site("slurm")
    assert (site.hardware.device, site.hardware.num_devices) == ("H100", 8)
    assert site.price.usd_per_gpu_hour == Decimal("3.75")
    assert site.price.basis == "assumed"


def site_error(tmp_path, text: str) -> str:
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_site(path)
    return str(caught.value).removeprefix(str(path))


def test_price_without_a_date_is_refused(tmp_path):
    message = site_error(tmp_path, '[price]\nusd_per_gpu_hour = 2.99\nsource = "contract"\n')
    assert message == ', line 1: price.read_on = "": must be the date on which the price was read, such as 2026-11-20'


def test_price_of_zero_is_refused(tmp_path):
    message = site_error(tmp_path, '[price]\nusd_per_gpu_hour = 0\nsource = "contract"\nread_on = "2026-11-20"\n')
    assert message == ", line 2: price.usd_per_gpu_hour = 0: must be greater than 0"


def test_file_without_a_price_leaves_it_unknown(tmp_path):
    path = tmp_path / "site.toml"
    path.write_text('name = "here"\n')
    assert load_site(path).price is None


def test_unknown_backend_names_the_known_ones(tmp_path):
    assert "must be 'local', 'slurm' or 'kubernetes'" in site_error(tmp_path, 'backend = "pbs"\n')


def test_missing_file_is_named(tmp_path):
    with pytest.raises(RecipeError, match="cannot read .*nowhere.toml: No such file"):
        load_site(tmp_path / "nowhere.toml")


def test_user_file_lies_where_xdg_says():
    assert user_site_file({"XDG_CONFIG_HOME": "/x"}) == Path("/x/mdiff/site.toml")
    assert user_site_file({"HOME": "/home/you"}) == Path("/home/you/.config/mdiff/site.toml")


def test_data_set_lies_where_the_site_says_or_in_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    site = built_in_site("slurm").model_copy(update={"datasets": {"sa1b": "/lustre/sa1b"}})
    assert site.dataset_folder("sa1b") == Path("/lustre/sa1b")
    assert site.dataset_folder("cc12m") == tmp_path / "data/cc12m"
    assert built_in_site("kubernetes").dataset_folder("cc12m") == Path("/data/cc12m")
