"""What a run left in its directory, for comparisons to the bit."""

import json

from mdiff.run_dir import RunDir


def losses_of(run_dir: RunDir) -> dict[tuple[int, int], float]:
    """(stage, step) -> loss; of repeated rows the last one."""
    if not run_dir.metrics.exists():
        return {}
    rows = (json.loads(line) for line in run_dir.metrics.read_text().splitlines())
    return {(row["stage"], row["step"]): row["loss"] for row in rows}


def weights_of(run_dir: RunDir) -> dict[str, str]:
    """Checksum of each of the newest checkpoint's files."""
    newest = sorted(run_dir.checkpoints.glob("stage-*"))[-1]
    return {name: file["sha256"] for name, file in json.loads((newest / "manifest.json").read_text())["files"].items()}
