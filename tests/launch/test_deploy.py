"""deploy/pytorchjob.yaml is what `mdiff submit --stage 1 --backend kubernetes --dry-run` prints; `just manifests` makes it so."""

import os
from pathlib import Path

import yaml

from mdiff.launch.kubernetes.pod import DEFAULT_IMAGE
from mdiff.launch.submit import Order, plan_submission

FILE = Path(__file__).parent.parent.parent / "deploy/pytorchjob.yaml"


def dry_run() -> str:
    order = Order(stages="1", recipe="microdit-xl", backend="kubernetes", dry_run=True)
    return plan_submission(order).render() + "\n"


def test_job_to_apply_is_what_a_dry_run_prints():
    head, mark, job = FILE.read_text().rpartition("\n---\n")
    if os.environ.get("MDIFF_WRITE_GOLDEN"):
        FILE.write_text(f"{head}{mark}{dry_run()}")
        return
    assert job == dry_run(), "just manifests"


def test_file_works_alone_in_any_namespace_and_names_the_image_once():
    documents = list(yaml.safe_load_all(FILE.read_text()))
    kinds = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert kinds == [
        ("PersistentVolumeClaim", "mdiff-runs"), ("PersistentVolumeClaim", "mdiff-data"), ("ServiceAccount", "mdiff"),
        ("PyTorchJob", "microdit-xl-stage-1"),
    ]  # fmt: skip
    assert all("namespace" not in document["metadata"] for document in documents)
    pod = documents[-1]["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]
    claims = {volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume}
    assert claims == {"mdiff-runs", "mdiff-data"}
    assert pod["serviceAccountName"] == "mdiff"
    assert FILE.read_text().count(f"image: {DEFAULT_IMAGE}\n") == 1
