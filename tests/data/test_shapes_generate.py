import json
import tarfile

import numpy as np
import pytest
import torch

from mdiff.data.latent_codec import PixelCodec
from mdiff.data.shapes.__main__ import main
from mdiff.data.shapes.captions import TASKS, parse_caption
from mdiff.data.shapes.draw import draw
from mdiff.data.shapes.generate import DEFAULT_MIX, ShapesSettings, generate, scenes
from mdiff.data.shapes.world import ShapesWorld, pairs
from mdiff.data.shards import ShardStore
from mdiff.recipe.manifest import read_manifest, verify_dataset


def texts(root):
    for path in sorted((root / "captions").glob("*.tar")):
        with tarfile.open(path) as tar:
            for name in tar.getnames():
                if name.endswith(".json"):
                    yield json.load(tar.extractfile(name))["text"]


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_no_shard_shows_a_held_out_pair_in_any_wording(shapes_root, shapes_settings):
    held_out = pairs(shapes_settings.world).held_out
    captions = list(texts(shapes_root))
    assert len(captions) == shapes_settings.images
    for text in captions:
        prompt = parse_caption(text, shapes_settings.world)
        assert not prompt.held_out
        assert frozenset(prompt.things) not in held_out


def test_shards_hold_the_drawn_scenes_at_both_resolutions(shapes_root, shapes_settings):
    expected = list(scenes(shapes_settings, range(0, 120)))
    for resolution in (16, 32):
        store = ShardStore(shapes_root, resolution, max_open=2)
        stored = [store.read(0, index) for index in range(120)]
        store.close()
        pixels = PixelCodec().decode(torch.from_numpy(np.stack([sample.stored_latents for sample in stored])))
        assert np.array_equal(pixels.numpy(), draw([things for _, things in expected], resolution))
        assert [sample.text for sample in stored] == [prompt.text for prompt, _ in expected]


def test_same_seed_gives_the_same_bytes_and_another_seed_other_ones(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate(tmp_path / name, ShapesSettings(images=40, shards=3, seed=seed))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a").keys() == contents(tmp_path / "c").keys()
    assert contents(tmp_path / "a")["latents-16/000000.tar"] != contents(tmp_path / "c")["latents-16/000000.tar"]


def test_pictures_do_not_depend_on_the_number_of_shards_or_images(shapes_settings):
    fewer = shapes_settings.model_copy(update={"images": 50, "shards": 2})
    assert list(scenes(fewer, range(50))) == list(scenes(shapes_settings, range(50)))


def test_tasks_come_in_the_shares_of_the_mix():
    tasks = [prompt.task for prompt, _ in scenes(ShapesSettings(images=4000), range(4000))]
    for task in TASKS:
        assert tasks.count(task) / 4000 == pytest.approx(DEFAULT_MIX[task], abs=0.02)


def test_manifest_records_the_world_and_the_seed(shapes_root, shapes_settings):
    made_from = read_manifest(shapes_root / "latents-16").made_from
    assert ShapesWorld.model_validate(made_from["world"], strict=False) == shapes_settings.world
    assert made_from["seed"] == shapes_settings.seed


def test_command_writes_a_data_set_that_verifies_and_then_leaves_it_alone(tmp_path, capsys):
    command = [str(tmp_path / "out"), "--images", "30", "--shapes", "4", "--layout", "free"]
    assert main(command) == 0
    assert verify_dataset(tmp_path / "out") == 48
    before = contents(tmp_path / "out")
    capsys.readouterr()
    assert main(command) == 0
    assert "already holds this data set" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before


def test_command_refuses_a_folder_with_something_else_until_told_to_overwrite(tmp_path, capsys):
    assert main([str(tmp_path), "--images", "20"]) == 0
    capsys.readouterr()
    assert main([str(tmp_path), "--images", "21"]) == 5
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "--overwrite" in error
    assert error.count("\n") == 1
    assert main([str(tmp_path), "--images", "21", "--resolutions", "16", "--overwrite"]) == 0
    assert not (tmp_path / "latents-32").exists()
    assert read_manifest(tmp_path / "captions").total == 21


def test_overwriting_touches_no_other_files(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert main([str(tmp_path), "--images", "20", "--overwrite"]) == 5
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("missing", ["latents-32/manifest.json", "captions/000003.tar"])
def test_unfinished_data_set_is_not_taken_for_a_whole_one(tmp_path, capsys, missing):
    assert main([str(tmp_path), "--images", "20"]) == 0
    (tmp_path / missing).unlink()
    assert main([str(tmp_path), "--images", "20"]) == 5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--shards", "9"], "shards = 9: must be at most the number of images, 4"),
        (["--resolutions", "16,x"], "--resolutions 16,x: must be whole numbers"),
        (["--resolutions", "4"], "8 px or more"),
        (["--shards", "0"], "--shards: Input should be greater than or equal to 1"),
    ],
)
def test_wrong_flag_is_one_line(tmp_path, capsys, flags, message):
    assert main([str(tmp_path), "--images", "4", *flags]) == 2
    assert message in capsys.readouterr().err


def test_more_shapes_than_there_are_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), "--images", "4", "--shapes", "6"])
