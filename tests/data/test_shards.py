import contextlib
import json
import tarfile

import numpy as np
import pytest

from mdiff.data.npy import npy_header
from mdiff.data.shards import ShardStore
from mdiff.data.writer import ShardSetWriter
from mdiff.errors import DataError
from mdiff.recipe.manifest import MANIFEST_NAME, SetDescription, read_manifest


@pytest.fixture
def root(write_tiny, tmp_path):
    return write_tiny(tmp_path / "d", [3, 3])


def read_all(root):
    store = ShardStore(root, 8, max_open=1)
    try:
        return [store.read(shard, index) for shard, count in enumerate(store.counts) for index in range(count)]
    finally:
        store.close()


def replace_bytes(path, old, new):
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def test_samples_come_back_as_written_though_only_one_shard_may_be_open(root):
    samples = read_all(root)
    assert [sample.text for sample in samples] == [f"k{index}" for index in range(6)]
    assert [sample.stored_latents[0, 0, 0] for sample in samples] == list(range(6))


def test_missing_shard_is_named_when_the_data_set_is_opened(root):
    (root / "latents-8" / "000001.tar").unlink()
    with pytest.raises(DataError, match=r"latents-8/000001\.tar: missing"):
        ShardStore(root, 8, max_open=1)


def test_shard_of_another_size_is_damaged(root):
    path = root / "captions" / "000001.tar"
    path.write_bytes(path.read_bytes() + b"0" * 512)
    with pytest.raises(DataError, match=r"captions/000001\.tar: damaged: 10,752 bytes, but the manifest says 10,240"):
        read_all(root)


def test_file_that_is_no_tar_is_damaged(root):
    path = root / "captions" / "000000.tar"
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(DataError, match=r"captions/000000\.tar: damaged: not a tar file"):
        read_all(root)


def test_damaged_array_names_file_and_key(root):
    replace_bytes(root / "latents-8" / "000000.tar", b"\x93NUMPY", b"garbag")
    with pytest.raises(DataError, match=r"latents-8/000000\.tar: k0\.npy: damaged"):
        read_all(root)


def test_array_of_another_shape_is_refused(root):
    replace_bytes(root / "latents-8" / "000000.tar", b"(1, 2, 2)", b"(2, 2, 1)")
    with pytest.raises(DataError, match=r"k0\.npy: is float16 \(2, 2, 1\), but the manifest says float16 \(1, 2, 2\)"):
        read_all(root)


def test_damaged_text_names_file_and_key(root):
    replace_bytes(root / "captions" / "000000.tar", b'"short_side"', b'"shirt_side"')
    with pytest.raises(DataError, match=r"captions/000000\.tar: k0\.json: damaged: KeyError"):
        read_all(root)


def test_captions_and_latents_must_have_the_same_keys(write_tiny, tmp_path, root):
    elsewhere = write_tiny(tmp_path / "e", [3, 3], name="x")
    for path in (elsewhere / "latents-8").iterdir():
        path.replace(root / "latents-8" / path.name)
    with pytest.raises(DataError, match=r"latents-8/000000\.tar: has key x0 where .*captions/000000\.tar has k0"):
        read_all(root)


def test_shard_with_fewer_samples_than_the_manifest_says_is_refused(root):
    for folder in ("latents-8", "captions"):
        manifest = json.loads((root / folder / MANIFEST_NAME).read_text())
        manifest["shards"][0]["samples"], manifest["total"] = 4, 7
        (root / folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"captions/000000\.tar: holds 3 samples, but the manifest says 4"):
        read_all(root)


def test_interrupted_writing_leaves_no_manifest(tmp_path):
    description = SetDescription(kind="captions", shape=(2,), encoder="none", encoder_sha256="0")
    with contextlib.suppress(KeyboardInterrupt), ShardSetWriter(tmp_path, [description]) as writer:
        writer.start_shard()
        writer.write("a", {"captions": np.zeros(2, np.float16)}, text="", short_side=1, source="")
        raise KeyboardInterrupt
    with pytest.raises(DataError, match="not finished"):
        read_manifest(tmp_path / "captions")


def test_sample_of_another_shape_is_not_written(tmp_path):
    description = SetDescription(kind="captions", shape=(2,), encoder="none", encoder_sha256="0")
    with ShardSetWriter(tmp_path, [description]) as writer:
        writer.start_shard()
        writer.write("a", {"captions": np.zeros(2, np.float16)}, text="", short_side=1, source="")
        with pytest.raises(ValueError, match=r"expected shape \(2,\), got \(3,\)"):
            writer.write("b", {"captions": np.zeros(3, np.float16)}, text="", short_side=1, source="")
    assert read_manifest(tmp_path / "captions").total == 1


def test_members_are_plain_npy_and_json_that_any_program_reads(root):
    with tarfile.open(root / "captions" / "000000.tar") as tar:
        assert tar.getnames() == [f"k{index}.{suffix}" for index in range(3) for suffix in ("json", "npy")]
        assert json.load(tar.extractfile("k1.json")) == {"text": "k1", "short_side": 8, "source": "test"}
        data = tar.extractfile("k1.npy").read()
    assert data.startswith(npy_header((2, 4), "float16"))
