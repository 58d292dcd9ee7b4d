"""Jobs that may begin with fewer nodes: what is submitted, and what is refused."""

import pytest
import yaml

from mdiff.errors import RecipeError, UsageError
from mdiff.launch.submit import Plan, plan_submission

from .conftest import order

SITE = """
backend = "kubernetes"
[hardware]
nodes = {nodes}
devices_per_node = 1
[price]
usd_per_gpu_hour = 2.99
source = "contract"
read_on = "2026-11-20"
[kubernetes]
least_nodes = {least}
"""


@pytest.fixture
def plan(site_file, dataset):
    """plan(least=1, nodes=4)"""

    def make(least: int, nodes: int, flag: int | None = None, overrides: tuple[str, ...] = ()) -> Plan:
        site_file(SITE.format(least=least, nodes=nodes))
        return plan_submission(order(backend="kubernetes", dry_run=True, nodes=flag, overrides=overrides))

    return make


def test_operator_is_told_how_many_nodes_are_enough_and_torchrun_how_many_there_are(plan):
    planned = plan(1, 2)
    spec = yaml.safe_load(planned.render())["spec"]
    assert spec["elasticPolicy"] == {
        "minReplicas": 1, "maxReplicas": 2, "rdzvBackend": "c10d", "rdzvHost": f"{planned.job.name}-master-0", "rdzvPort": 23456,
    }  # fmt: skip
    assert spec["pytorchReplicaSpecs"]["Worker"]["replicas"] == 1
    assert planned.job.argv[planned.job.argv.index("--nnodes") + 1] == "$MDIFF_NODES"


@pytest.mark.parametrize(("least", "nodes"), [(1, 1), (2, 2)])
def test_job_that_needs_all_nodes_is_not_elastic(plan, least, nodes):
    planned = plan(least, nodes)
    assert planned.job.elastic is None
    assert "elasticPolicy" not in planned.render()
    assert planned.job.argv[planned.job.argv.index("--nnodes") + 1] == str(nodes)


def test_price_and_time_limit_are_those_of_all_nodes(plan):
    elastic = plan(1, 2)
    assert (elastic.estimate, elastic.job.time_limit_seconds) == ((plain := plan(2, 2)).estimate, plain.job.time_limit_seconds)


def test_every_number_of_nodes_must_share_the_lanes_out(plan):
    with pytest.raises(
        UsageError, match=r"data.lanes = 32 must be .*least_nodes = 1 on, and 3 nodes have 3; set least_nodes = 4"
    ) as refusal:
        plan(1, 4, overrides=("data.lanes=32",))
    assert "--set" not in str(refusal.value), "no number of lanes fits all these nodes and the batch sizes"
    assert plan(1, 2, overrides=("data.lanes=32",)).job.elastic is not None


def test_lanes_for_a_new_run_are_named_where_there_are_some(plan):
    overrides = ("data.lanes=4", *(f"stages[{stage}].batch_size=48" for stage in range(4)))
    with pytest.raises(UsageError, match="or --set data.lanes=12 for a new run"):
        plan(1, 4, overrides=overrides)


def test_fewer_nodes_than_the_least_are_refused(plan):
    with pytest.raises(UsageError, match=r"1 node of .*: less than kubernetes.least_nodes = 2; .* take --nodes 2"):
        plan(2, 4, flag=1)


def test_site_whose_least_is_more_than_its_most_is_refused(plan):
    with pytest.raises(RecipeError, match="kubernetes.least_nodes = 3: must not be more than hardware.nodes = 2"):
        plan(3, 2)
