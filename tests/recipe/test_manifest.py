import hashlib
import subprocess
import sys

import pytest

from mdiff.errors import DataError
from mdiff.recipe.manifest import (
    MANIFEST_NAME,
    DatasetNeeds,
    Manifest,
    ShardEntry,
    check_dataset,
    read_manifest,
    verify_dataset,
    write_manifest,
)

NEEDS = DatasetNeeds(latent_shape=(3, 16, 16), caption_shape=(8, 64))


def write_folder(folder, kind, shape, counts):
    folder.mkdir(parents=True)
    entries = []
    for index, count in enumerate(counts):
        data = f"{folder.name} {index}".encode()
        (folder / f"{index:06d}.tar").write_bytes(data)
        sha256 = hashlib.sha256(data).hexdigest()
        entries.append(ShardEntry(file=f"{index:06d}.tar", samples=count, bytes=len(data), sha256=sha256))
    manifest = Manifest(
        kind=kind,
        resolution=16 if kind == "latents" else None,
        shape=shape,
        encoder="e",
        encoder_sha256="0",
        total=sum(counts),
        shards=tuple(entries),
    )
    write_manifest(folder, manifest)
    return manifest


def write_dataset(root, captions=(5, 7), latents=(5, 7)):
    write_folder(root / "captions", "captions", (8, 64), captions)
    write_folder(root / "latents-16", "latents", (3, 16, 16), latents)
    return root


def test_manifest_comes_back_as_written(tmp_path):
    manifest = write_folder(tmp_path / "captions", "captions", (8, 64), [1, 2])
    assert read_manifest(tmp_path / "captions") == manifest
    assert [path.name for path in (tmp_path / "captions").iterdir() if path.suffix != ".tar"] == [MANIFEST_NAME]


def test_counts_of_a_fitting_data_set(tmp_path):
    assert check_dataset(write_dataset(tmp_path / "d"), 16, NEEDS) == (12, 2, 2 * len("captions 0") + 2 * len("latents-16 0"))


def test_missing_data_set_is_refused(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such data set"):
        check_dataset(tmp_path / "nowhere", 16)


def test_missing_resolution_is_refused_with_those_that_are_there(tmp_path):
    with pytest.raises(DataError, match="latents-32: no such folder; there are: captions, latents-16"):
        check_dataset(write_dataset(tmp_path), 32)


def test_data_set_without_manifest_is_not_finished(tmp_path):
    (write_dataset(tmp_path) / "latents-16" / MANIFEST_NAME).unlink()
    with pytest.raises(DataError, match="latents-16: not finished"):
        check_dataset(tmp_path, 16)


@pytest.mark.parametrize("text", ["", "{}", '{"schema_version": 2}'])
def test_damaged_manifest_is_named(tmp_path, text):
    (write_dataset(tmp_path) / "captions" / MANIFEST_NAME).write_text(text)
    with pytest.raises(DataError, match=r"captions/manifest\.json: "):
        check_dataset(tmp_path, 16)


@pytest.mark.parametrize(
    ("latents", "message"), [((5, 6), "shard 1 has 7 captions, but 6 latents at 16 px"), ((5,), "2 shards of captions, but 1 of latents")]
)
def test_folders_that_disagree_are_refused(tmp_path, latents, message):
    with pytest.raises(DataError, match=message):
        check_dataset(write_dataset(tmp_path, latents=latents), 16)


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        (NEEDS._replace(latent_shape=(4, 16, 16)), r"latents-16: .* = \(3, 16, 16\), but the recipe asks for \(4, 16, 16\)"),
        (NEEDS._replace(caption_shape=(77, 64)), r"captions: .* = \(8, 64\), but the recipe asks for \(77, 64\) \(model\.caption_length"),
    ],
)
def test_shapes_that_do_not_fit_the_recipe_are_refused(tmp_path, needs, message):
    with pytest.raises(DataError, match=message):
        check_dataset(write_dataset(tmp_path), 16, needs)


def test_verifying_reads_every_shard(tmp_path):
    assert verify_dataset(write_dataset(tmp_path)) == 4


def test_verifying_names_the_damaged_file(tmp_path):
    (write_dataset(tmp_path) / "latents-16" / "000001.tar").write_bytes(b"latents-16 x")
    with pytest.raises(DataError, match=r"latents-16/000001\.tar: damaged: sha256"):
        verify_dataset(tmp_path)


def test_verifying_names_the_missing_file(tmp_path):
    (write_dataset(tmp_path) / "captions" / "000000.tar").unlink()
    with pytest.raises(DataError, match=r"captions/000000\.tar: cannot be read: No such file"):
        verify_dataset(tmp_path)


def test_verifying_a_folder_without_data_set_is_refused(tmp_path):
    with pytest.raises(DataError, match="no data set here"):
        verify_dataset(tmp_path)


def test_manifests_are_read_without_torch_and_numpy():
    code = "import sys, mdiff.recipe.manifest; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
