import csv
import io
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from mdiff_cli.budget import app
from typer.testing import CliRunner, Result

from mdiff.errors import UsageError
from mdiff.run_dir import RunDir
from mdiff.units import utc_now
from tests.budget.books import HOUR, make_record, make_submission, write_recipe, write_record, write_submission


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No site file, no runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for variable in ("MDIFF_RUNS", "COLUMNS"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def shapes_run(tmp_path: Path) -> RunDir:
    """The demo's run, its first stage half done; over, for its only attempt was killed."""
    run_dir = RunDir(tmp_path / "runs/shapes")
    write_recipe(run_dir)
    write_submission(run_dir, make_submission("30", limit="40"))
    write_record(run_dir, make_record((1, "training", 20 * HOUR), stage_images={"1": 12_800}, reason="failed"))
    return run_dir


def report(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["report", *arguments])


def numbers(*arguments: str) -> dict:
    return json.loads(report("--json", *arguments).stdout)


def test_report_before_anything_has_run_is_the_default_recipe_at_the_papers_price(tmp_path: Path) -> None:
    lines = report().stdout.splitlines()
    assert lines[0].startswith("microdit-xl")
    assert "budget $1,890.00" in lines[0]
    text = "\n".join(lines)
    assert "8 x H100 at $3.75 per GPU-hour (assumed: the paper's price; no site file)" in text
    assert "20 % MFU (assumed: not yet measured here)" in text
    assert f"runs root {tmp_path}/runs (empty)" in text
    assert "92 % of the budget" in text
    assert lines[-1].startswith("  Next: mdiff site init --backend slurm")


def test_table_and_json_show_the_same_total() -> None:
    total = numbers()["total"]
    assert f"${total['planned_usd']:,.1f}" in report().stdout


@pytest.mark.parametrize("arguments", [[], ["--run", "shapes"]])
def test_lines_fit_80_columns_without_colour_and_uncut_where_no_terminal_is(shapes_run: RunDir, arguments: list[str]) -> None:
    lines = report(*arguments, "--runs-dir", "runs").stdout.splitlines()
    tables = [line for line in lines if not line.startswith("runs root")]
    assert max(map(len, tables)) <= 80
    assert "\x1b" not in "".join(lines)
    assert "…" not in "".join(lines), "nothing is cut off"


def test_csv_reads_back_as_the_rows_of_the_json() -> None:
    rows = list(csv.DictReader(io.StringIO(report("--csv").stdout)))
    stages = numbers()["stages"]
    assert [Decimal(row["planned_usd"]) for row in rows] == [Decimal(repr(stage["planned_usd"])) for stage in stages]
    assert [int(row["images_planned"]) for row in rows] == [stage["images_planned"] for stage in stages]
    assert list(rows[0]) == list(stages[0])


def test_run_that_has_begun_is_reported_with_its_own_recipe_limit_and_hardware(shapes_run: RunDir) -> None:
    found = numbers("--run", "shapes")
    assert (found["recipe"], found["limit_usd"], found["total"]["spent_usd"]) == ("shapes", 40, 20)
    assert found["hardware"]["devices_per_node"] == 1
    assert "Next: mdiff submit --stage 1 --backend local --recipe shapes" in report("--run", "shapes").stdout


def test_recipe_alone_names_its_run(shapes_run: RunDir) -> None:
    assert numbers("--recipe", "shapes") == numbers("--run", "shapes")


def test_recipe_that_differs_from_the_run_is_pointed_out_and_not_reported(shapes_run: RunDir, tmp_path: Path) -> None:
    other = tmp_path / "mine.toml"
    other.write_text(shapes_run.recipe.read_text().replace("seed = ", "seed = 1"))
    result = report("--recipe", str(other))
    assert "warning: run shapes is reported as it has begun" in result.stderr
    assert "seed" in result.stderr


def test_limit_can_be_tried_out(shapes_run: RunDir) -> None:
    assert numbers("--run", "shapes", "--set", "budget.limit_usd=55.5")["limit_usd"] == 55.5


def test_price_can_be_tried_out() -> None:
    dear, cheap = (numbers("--usd-per-gpu-hour", price)["total"]["planned_usd"] for price in ("3", "1.5"))
    assert dear == pytest.approx(2 * cheap)


@pytest.mark.parametrize("price", ["0", "-1", "nan", "cheap"])
def test_price_that_is_no_amount_is_refused(price: str) -> None:
    result = report("--usd-per-gpu-hour", price)
    assert result.exit_code == 2
    assert "must be an amount above 0" in result.stderr


def test_unknown_price_is_called_unknown(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('backend = "slurm"\n')
    text = report("--site", "site.toml").stdout
    assert "price unknown: set [price] in the site file or --usd-per-gpu-hour" in text
    assert "$" not in text.partition("total")[0].partition("stage")[2]


def test_users_site_file_sets_the_price(tmp_path: Path) -> None:
    path = tmp_path / "config/mdiff/site.toml"
    path.parent.mkdir(parents=True)
    path.write_text('[price]\nusd_per_gpu_hour = 2.99\nsource = "contract"\nread_on = "2026-11-20"\n')
    text = report().stdout
    assert "8 x H100 at $2.99 per GPU-hour (contract, read 2026-11-20)" in text
    assert "Next: mdiff submit --stage 1 --backend slurm" in text


def test_run_that_is_not_there_is_refused_with_where_it_was_looked_for(tmp_path: Path) -> None:
    result = report("--run", "shpaes")
    assert isinstance(result.exception, UsageError)
    assert f"--run shpaes: no such run in {tmp_path}/runs" in str(result.exception)


def test_open_job_leads_to_its_status(shapes_run: RunDir) -> None:
    write_submission(shapes_run, make_submission("5", id="s2", backend="slurm", submitted_at=utc_now().isoformat()))
    text = report("--run", "shapes").stdout
    assert "Next: mdiff status --run shapes" in text
    assert "committed" in text


def test_many_attempts_are_shortened_to_the_newest(shapes_run: RunDir) -> None:
    for number in range(20):
        write_record(shapes_run, make_record((1, "training", HOUR), attempt=f"b{number:02}"))
    text = report("--run", "shapes").stdout
    assert "... 13 earlier: --json" in text
    assert "b19" in text
    assert "b05" not in text


def test_json_and_csv_exclude_each_other() -> None:
    assert isinstance(report("--json", "--csv").exception, UsageError)


def test_command_line_loads_neither_torch_nor_rich_tables_before_a_report_is_asked_for() -> None:
    code = "import sys, mdiff_cli.budget; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'pydantic', 'rich.table')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
