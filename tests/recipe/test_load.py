"""From TOML and overrides to a checked recipe, and every mistake as one line."""

from decimal import Decimal

import pytest

from mdiff.errors import RecipeError
from mdiff.recipe.load import fingerprint, frozen_differences, load_recipe, parse_settings, preset_names, preset_text, to_toml
from mdiff.recipe.recipe import Recipe


@pytest.mark.parametrize("name", ["microdit-tiny", "microdit-xl", "shapes"])
def test_preset_loads_and_its_resolved_form_loads_as_the_same_recipe(name):
    recipe = load_recipe(name)
    assert name in preset_names()
    assert parse_settings(Recipe, to_toml(recipe), "resolved") == recipe


def test_paper_stages_stand_in_the_presets_to_the_letter():
    for name in ("microdit-xl", "microdit-tiny"):
        stages = load_recipe(name).stages
        assert [(s.resolution, s.mask_ratio, s.steps, s.batch_size) for s in stages] == [
            (256, 0.75, 250_000, 2048), (256, 0, 30_000, 2048), (512, 0.75, 50_000, 2048), (512, 0, 5_000, 2048),
        ]  # fmt: skip
        assert [(s.learning_rate.peak, s.learning_rate.schedule, s.learning_rate.floor_ratio, s.learning_rate.warmup_steps) for s in stages] == [
            (2.4e-4, "cosine", 0.33, 2500), (8e-5, "constant", 1.0, 0), (8e-5, "constant", 1.0, 500), (8e-5, "constant", 1.0, 0),
        ]  # fmt: skip
        assert [(s.clip_norm, s.P_mean, s.P_std, s.position_scale, s.optimizer_state) for s in stages] == [
            (0.25, -0.6, 1.2, 1.0, "fresh"), (0.25, -0.6, 1.2, 1.0, "continued"), (0.5, 0, 0.6, 2.0, "fresh"), (0.5, 0, 0.6, 2.0, "continued"),
        ]  # fmt: skip
        assert [(s.ema.decay, s.ema.start_step) if s.ema else None for s in stages] == [None, None, (0.99975, 25_000), (0.9975, 1_000)]
        assert [s.micro_batch_size for s in stages] == [256, 64, 32, 16]
        assert [len(s.datasets) for s in stages] == [5, 5, 4, 4]
        assert "diffusiondb" not in {use.name for use in stages[2].datasets}
        assert {use.min_short_side for use in stages[3].datasets if use.name == "cc12m"} == {512}
        assert sum(s.images for s in stages) == 686_080_000


def test_shapes_is_the_real_thing_small():
    recipe = load_recipe("shapes")
    assert [stage.mask_ratio for stage in recipe.stages] == [0.75, 0.0, 0.75, 0.0]
    assert recipe.model.mixer_depth > 0
    assert any(shape.has_experts for shape in recipe.model.backbone_shapes)
    assert any(shape.has_experts for shape in recipe.model.mixer_shapes)
    assert len({shape.attention_width for shape in recipe.model.backbone_shapes}) > 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.dpeth=12", "--set: model.dpeth: no such setting in [model]; did you mean `depth`?"),
        ("model.width=100", "--set: model.width = 100: must be a multiple of head_dim 64"),
        ("model.width=abc", '--set: model.width = "abc": must be a valid integer'),
        ("model.depth=1.5", "--set: model.depth = 1.5: must be a valid integer"),
        ("stages[2].mask_ratio=1.0", "--set: stages[2].mask_ratio = 1.0: must be at least 0 and below 1 (1.0 would hide every patch)"),
        ("stages[7].steps=3", "--set: stages[7]: there is no entry 7; stages has 4, counted from 0"),
        ("stages.steps=3", "--set: stages.steps: stages is not a table; write stages[0].steps"),
        ("budget.limit_usd=-1", "--set: budget.limit_usd = -1: must be greater than 0"),
        ("depth", "--set: depth: must be KEY=VALUE, such as model.depth=12"),
        ("stages[0].batch_size=100", "stages[0].batch_size = 100: must be a multiple of data.lanes = 64"),
        ("stages[0].resolution=250", "stages[0].resolution = 250: must be a multiple of 16 (data.latent_downsampling x model.patch_size)"),
        ("stages[0].mask_ratio=0.999", "stages[0].mask_ratio = 0.999: hides all 256 patches of a 256 px picture; lower it"),
        (
            "stages[0].mask_ratio=0.99",
            "2 tokens x capacity_factor 2.0 / 8 experts gives an expert no token; lower it, or raise model.capacity_factor",
        ),
        ("stages[0].optimizer_state=continued", 'the first stage has nothing to continue; write "fresh"'),
        ("stages[1].learning_rate.floor_ratio=0.5", 'must be 1.0 with schedule "constant"'),
        ("name=Bad Name", 'name = "Bad Name": must match pattern'),
    ],
)
def test_mistake_is_one_line_with_the_key_the_value_and_what_is_allowed(override, message):
    with pytest.raises(RecipeError) as caught:
        load_recipe("microdit-xl", [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_mistake_in_a_file_is_named_with_its_line(tmp_path):
    text = preset_text("microdit-xl").replace("mask_ratio = 0.75", "mask_ratio = 0.5", 1).replace("mask_ratio = 0.75", "mask_ratio = 1.0")
    line = text.splitlines().index("mask_ratio = 1.0") + 1
    path = tmp_path / "my.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=rf"my.toml, line {line}: stages\[2\].mask_ratio = 1.0: must be at least 0 and below 1"):
        load_recipe(str(path))


def test_missing_table_is_named(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(preset_text("microdit-xl").partition("[budget]")[0])
    with pytest.raises(RecipeError, match="my.toml: budget: is missing"):
        load_recipe(str(path))


def test_text_that_is_no_toml_is_named_with_its_line(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text("a = = 1")
    with pytest.raises(RecipeError, match=r"not valid TOML: .*line 1"):
        load_recipe(str(path))


def test_unknown_recipe_names_the_presets():
    with pytest.raises(RecipeError, match=r"nothing is neither a preset \(microdit-tiny, microdit-xl, shapes\) nor a file"):
        load_recipe("nothing")


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("model.depth=12", lambda r: r.model.depth == 12),
        ("model.ffn_ratios=[1, 2.5]", lambda r: r.model.ffn_ratios == (1.0, 2.5)),
        ("training.compile=false", lambda r: r.training.compile is False),
        ("data.vae=org/name", lambda r: r.data.vae == "org/name"),
        ("budget.limit_usd=0.15", lambda r: r.budget.limit_usd == Decimal("0.15")),
        ("stages[0].ema.decay=0.9", lambda r: r.stages[0].ema.decay == 0.9),
        ('stages[0].datasets=[{name="mine"}]', lambda r: r.stages[0].datasets[0].name == "mine"),
    ],
)
def test_override_is_typed_by_the_setting(override, read):
    assert read(load_recipe("microdit-xl", [override]))


def test_fingerprint_changes_with_the_science_and_not_with_the_budget():
    recipe = load_recipe("shapes")
    assert fingerprint(load_recipe("shapes", ["budget.limit_usd=7", "training.log_every_steps=3"])) == fingerprint(recipe)
    assert fingerprint(load_recipe("shapes", ["seed=19"])) != fingerprint(recipe)


def test_differences_name_the_frozen_keys_that_changed():
    old, new = load_recipe("shapes"), load_recipe("shapes", ["stages[1].steps=7", "budget.limit_usd=9"])
    assert frozen_differences(old, new) == [f"stages[1].steps: {old.stages[1].steps} -> 7"]
