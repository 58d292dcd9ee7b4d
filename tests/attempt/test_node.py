"""What SLURM's variables tell a supervisor."""

import pytest

from mdiff.attempt.node import expand, slurm_node

VARIABLES = {"SLURM_JOB_ID": "8841207", "SLURM_NODEID": "0"}
HOSTS = ["gpu-03", "gpu-17"]


def test_first_host_holds_the_rendezvous_and_the_others_know_that_they_do_not():
    first, second = (slurm_node(VARIABLES | {"SLURM_NODEID": str(index)}, HOSTS, None) for index in (0, 1))
    assert first.variables["MDIFF_RDZV_ENDPOINT"] == second.variables["MDIFF_RDZV_ENDPOINT"] == "gpu-03:21207"
    assert (first.variables["MDIFF_RDZV_IS_HOST"], second.variables["MDIFF_RDZV_IS_HOST"]) == ("true", "false")
    assert (first.index, second.index, second.count) == (0, 1, 2)


def test_attempts_of_a_requeued_job_have_names_that_sort_and_rendezvous_that_differ():
    nodes = [slurm_node(VARIABLES | {"SLURM_RESTART_COUNT": str(count)}, HOSTS, None) for count in (0, 2, 10)]
    assert [node.attempt for node in nodes] == ["8841207-000", "8841207-002", "8841207-010"]
    assert len({node.variables["MDIFF_RDZV_ID"] for node in nodes}) == 3


def test_time_left_is_what_slurm_says_else_what_was_asked_for():
    told = slurm_node(VARIABLES | {"SLURM_JOB_END_TIME": "5000"}, HOSTS, 100.0, clock=lambda: 4000.0)
    begun = slurm_node(VARIABLES | {"SLURM_JOB_START_TIME": "3950"}, HOSTS, 100.0, clock=lambda: 4000.0)
    asked = slurm_node(VARIABLES, HOSTS, 100.0, clock=lambda: 4000.0)
    assert (told.seconds_left(), begun.seconds_left(), asked.seconds_left()) == (1000.0, 50.0, 100.0)
    assert slurm_node(VARIABLES, HOSTS, None).seconds_left() == float("inf")


@pytest.mark.parametrize("word", ["$HOME", "a$", "$$", "plain", "${MDIFF_OTHER}"])
def test_only_known_names_are_put_into_the_command(word):
    assert expand([word], {"MDIFF_RDZV_ID": "1"}) == [word.replace("$$", "$")]
