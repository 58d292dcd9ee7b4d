"""`mdiff recipe` and `mdiff data`."""

import json
import tomllib

import pytest

from mdiff.recipe.load import load_recipe, preset_names


def test_list_names_every_preset(mdiff):
    out = mdiff("recipe list").out
    assert [line.split()[0] for line in out.splitlines()] == preset_names()
    assert [row["name"] for row in json.loads(mdiff("recipe list --json").out)] == preset_names()


def test_shown_recipe_loads_as_the_same_recipe(mdiff, home):
    text = mdiff("recipe show microdit-xl --set model.depth=12").out
    (home / "my.toml").write_text(text)
    assert load_recipe("my.toml") == load_recipe("microdit-xl", ["model.depth=12"])
    assert json.loads(mdiff("recipe show microdit-xl --json").out)["model"]["depth"] == tomllib.loads(text)["model"]["depth"] + 16


def test_check_says_what_a_recipe_amounts_to(mdiff):
    out = mdiff("recipe check microdit-xl").out
    assert out.startswith("ok: microdit-xl: 4 stages, 1.2 G parameters, 686.1 M images, 3.29e+20 FLOPs")
    assert json.loads(mdiff("recipe check microdit-xl --json").out)["parameters"] == 1165442320


def test_misspelt_key_is_refused_with_a_suggestion(mdiff):
    result = mdiff("recipe check microdit-xl --set model.dpeth=12")
    assert result.code == 2
    assert "did you mean `depth`?" in result.err


def test_schema_is_one_that_editors_understand(mdiff):
    schema = json.loads(mdiff("recipe schema").out)
    assert schema["properties"]["stages"]["type"] == "array"
    assert "description" in schema["$defs"]["Stage"]["properties"]["resolution"]


def test_data_shapes_passes_arguments_and_exit_code_on(mdiff, home):
    pytest.importorskip("numpy")
    (home / "full").mkdir()
    (home / "full" / "something").touch()
    assert mdiff("data shapes full --images 4").code == 5


def test_data_shapes_without_the_extra_says_how_to_install_it(mdiff, monkeypatch):
    monkeypatch.setattr("mdiff_cli.compute.find_spec", lambda name: None)
    result = mdiff("data shapes out --images 4")
    assert result.code == 1
    assert result.err == "error: this command needs numpy, which is not installed here: pip install 'mdiff[train]'\n"
