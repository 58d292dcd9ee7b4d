"""What stands between a command and a job: names, rights, quotas, a server that is away. And jobs that somebody applied by hand."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import yaml
from kubernetes import client

from tests.kubernetes.control_plane import NAMESPACE, ControlPlane
from tests.kubernetes.training import LONG, LONG_STEPS, SITE, Job, Trainer, assert_billed, pod_seconds
from tests.small_recipes import QUICK
from tests.waiting import wait_until

CRD = "pytorchjobs.kubeflow.org"


def refused(user: Trainer, *words: str, settings: tuple[str, ...] = QUICK, code: int = 4) -> str:
    result = user.mdiff(*user.order("1", settings), *words, check=False)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr.partition("error: ")[2]


def test_dry_run_prints_the_manifest_that_the_server_accepts(user: Trainer):
    printed = user.mdiff(*user.order("1", QUICK), "--dry-run").stdout
    assert user.kubectl("apply", "--dry-run=server", "-f", "-", stdin=printed).stdout.strip() == (
        f"pytorchjob.kubeflow.org/{user.run}-stage-1 created (server dry run)"
    )
    tried = user.mdiff(*user.order("1", QUICK), "--dry-run=server")
    assert yaml.safe_load(tried.stdout) == yaml.safe_load(printed)
    assert f"would accept {user.run}-stage-1 in namespace default" in tried.stderr
    assert user.kubectl("get", "pytorchjob", f"{user.run}-stage-1", check=False).returncode == 1


def test_server_dry_run_reaches_the_webhook(user: Trainer):
    user.site(SITE.format(claim=user.claim) + "\n[kubernetes.labels]\n" + '"not a label" = "x"\n')
    assert "Invalid value" in refused(user, "--dry-run=server")


def test_name_that_another_job_has_is_refused_and_that_of_an_ended_job_is_numbered(user: Trainer, tmp_path_factory):
    job = user.submit("1", QUICK)
    colleague = replace(user, home=tmp_path_factory.mktemp("colleague"))
    colleague.site(SITE.format(claim=user.claim))
    assert f"run {user.run} is being trained by job {job.name}" in refused(colleague, code=2)
    job.wait_for_end()
    assert f"stage 1 of run {user.run} is done" in refused(colleague, code=2)
    other_books = refused(user, "--runs-dir", str(tmp_path_factory.mktemp("elsewhere")), code=2)
    assert "is done" in other_books
    user.kubectl("delete", "pytorchjob", job.name)
    again = colleague.submit("2", QUICK)
    assert again.name == f"{user.run}-stage-2"
    assert "Succeeded" in again.wait_for_end(), again.everything()


def test_deleted_job_leaves_its_name_and_an_ended_one_keeps_it(user: Trainer):
    job = user.submit("1", (*QUICK, "stages[0].steps=200"))
    user.mdiff("cancel", "--run", user.run)
    again = user.submit("1", (*QUICK, "stages[0].steps=200"))
    assert again.name == job.name
    again.wait_for_step(3)
    (again.run_dir.attempt_dirs()[-1].path / "stop.json").write_text("{}")
    assert "Failed" in again.wait_for_end(), again.everything()
    third = user.submit("1", (*QUICK, "stages[0].steps=200"))
    assert third.name == f"{job.name}-again-2"
    assert "Succeeded" in third.wait_for_end(), third.everything()


def test_user_without_the_right_is_told_so_in_the_servers_words(user: Trainer, control_plane: ControlPlane):
    user.site(SITE.format(claim=user.claim).replace('"member"', '"limited"'))
    message = refused(user)
    assert 'User "limited" cannot list resource "pytorchjobs"' in message
    assert "deploy/rbac.yaml" in message


def test_quota_on_jobs_is_told_in_the_servers_words(user: Trainer, admin: client.ApiClient):
    core = client.CoreV1Api(admin)
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"count/pytorchjobs.kubeflow.org": "0"}}}
    core.create_namespaced_resource_quota(NAMESPACE, quota)
    try:
        wait_until(lambda: core.read_namespaced_resource_quota("few", NAMESPACE).status.hard, 60, "the quota is not counted")
        message = refused(user)
    finally:
        core.delete_namespaced_resource_quota("few", NAMESPACE)
    assert "exceeded quota: few" in message
    assert "kubectl describe quota" in message
    report = json.loads(user.mdiff("budget", "report", "--run", user.run, "--recipe", "shapes", "--json").stdout)
    assert report["committed_usd"] == 0, "the reservation was withdrawn"


def test_quota_on_gpus_shows_as_what_the_job_waits_for(user: Trainer, admin: client.ApiClient):
    core = client.CoreV1Api(admin)
    quota = {"metadata": {"name": "no-gpus"}, "spec": {"hard": {"requests.nvidia.com/gpu": "0"}}}
    core.create_namespaced_resource_quota(NAMESPACE, quota)
    try:
        wait_until(lambda: core.read_namespaced_resource_quota("no-gpus", NAMESPACE).status.hard, 60, "the quota is not counted")
        job = user.submit("1", QUICK)
        job.wait(lambda: "a quota, perhaps" in job.status["detail"], 30, "that there are no pods is not told")
        assert job.status["state"] == "PENDING"
        admin_site = user.site(SITE.format(claim=user.claim).replace('"member"', '"admin"'))
        as_admin = json.loads(user.mdiff("status", "--run", user.run, "--json", "--site", str(admin_site)).stdout)
        assert as_admin["job"] == job.name
    finally:
        core.delete_namespaced_resource_quota("no-gpus", NAMESPACE)


def test_image_that_no_registry_has_shows_in_the_status(user: Trainer):
    user.kubelet.absent_images.add("nowhere/mdiff")
    user.site(SITE.format(claim=user.claim).replace('image = "local"', 'image = "nowhere/mdiff"'))
    job = user.submit("1", QUICK)
    job.wait(lambda: "cannot be pulled" in job.status["detail"], 30, "absent image is not told")
    assert job.status["state"] == "PENDING"
    assert "which was not running" in user.mdiff("cancel", "--run", user.run).stdout


def test_claim_that_is_not_there_shows_in_the_status(user: Trainer):
    user.site(SITE.format(claim="nowhere"))
    job = user.submit("1", QUICK)
    job.wait(lambda: 'persistentvolumeclaim "nowhere" not found' in job.status["detail"], 30, "missing claim is not told")


def test_unreachable_server_is_one_line(user: Trainer, control_plane: ControlPlane):
    text = control_plane.kubeconfig.read_text().replace(str(control_plane.port + 2), "9")
    elsewhere = user.home / "kubeconfig"
    elsewhere.write_text(text)
    message = refused(replace(user, kubeconfig=elsewhere))
    assert message.startswith("cannot reach the cluster at https://127.0.0.1:9 (context member): Connection refused\n")


def test_server_that_restarts_is_waited_for(user: Trainer, control_plane: ControlPlane):
    job = user.submit("1", LONG)
    job.wait_for_step(5)
    with (
        user.begin("status", "--watch", "--run", user.run) as watching,
        user.begin("logs", "-f", "-n", "1000", "--run", user.run) as following,
    ):
        time.sleep(3)
        control_plane.stop_program("apiserver", signal.SIGKILL)
        time.sleep(3)
        control_plane.start_apiserver()
        watched, told = watching.communicate(timeout=120)
        followed, complaint = following.communicate(timeout=120)
    assert (watching.returncode, following.returncode) == (0, 0), told + complaint
    assert "Traceback" not in told + complaint
    assert "COMPLETED" in watched
    steps = [line for line in followed.splitlines() if f"/{LONG_STEPS} " in line]
    assert [line.split()[4] for line in steps] == [f"{step}/{LONG_STEPS}" for step in range(1, LONG_STEPS + 1)], "each line once"
    assert job.reasons == ["completed"]


@pytest.fixture
def no_crd(admin: client.ApiClient, control_plane: ControlPlane) -> Iterator[None]:
    """The kind of the jobs is taken away, and comes back."""
    api = client.ApiextensionsV1Api(admin)
    kept = admin.sanitize_for_serialization(api.read_custom_resource_definition(CRD))
    api.delete_custom_resource_definition(CRD)
    wait_until(lambda: not _has_crd(api), 60, "the kind does not go")
    yield
    for key in ("resourceVersion", "uid", "creationTimestamp", "managedFields", "generation"):
        kept["metadata"].pop(key, None)
    kept.pop("status", None)
    api.create_custom_resource_definition(kept)
    wait_until(lambda: _is_served(admin), 60, "the kind does not come back")
    for start, name in ((control_plane.start_operator, "operator"), (control_plane.start_controllers, "controllers")):
        control_plane.stop_program(name)
        start()


def _has_crd(api: client.ApiextensionsV1Api) -> bool:
    return any(each.metadata.name == CRD for each in api.list_custom_resource_definition().items)


def _is_served(admin: client.ApiClient) -> bool:
    try:
        client.CustomObjectsApi(admin).list_namespaced_custom_object("kubeflow.org", "v1", NAMESPACE, "pytorchjobs")
    except client.ApiException:
        return False
    return True


def test_cluster_without_the_operator_is_told_with_what_installs_it(user: Trainer, no_crd: None):
    message = refused(user)
    assert "the training operator is not installed" in message
    assert "kubectl apply --server-side -k" in message


def test_job_that_was_applied_by_hand_is_admitted_metered_and_found_by_others(user: Trainer):
    manifest = user.mdiff(*user.order("1", QUICK), "--dry-run").stdout
    user.kubectl("apply", "-f", "-", stdin=manifest)
    job = Job(user, f"{user.run}-stage-1")
    assert "Succeeded" in job.wait_for_end(), job.everything()
    assert job.status["state"] == "COMPLETED"
    synced = job.synced()
    [told] = synced["attempts"]
    assert told["scheduler_gpu_hours"] >= sum(pod_seconds(job).values()) / 3600 - 1e-6
    assert not synced["may_lack"]
    assert_billed(job)
    assert "completed" in user.mdiff("logs", "--run", user.run).stdout


def test_bare_apply_that_does_not_fit_the_budget_is_refused_in_the_pod(user: Trainer):
    manifest = user.mdiff(*user.order("1", QUICK), "--dry-run").stdout
    dear = re.sub('"limit_usd": "[^"]*"', '"limit_usd": "5"', re.sub('"reservation_usd": "[^"]*"', '"reservation_usd": "6"', manifest))
    user.kubectl("apply", "-f", "-", stdin=dear)
    job = Job(user, f"{user.run}-stage-1")
    assert "Failed" in job.wait_for_end(), job.everything()
    assert job.reasons == ["refused_budget"]
    log = user.kubectl("logs", f"{job.name}-master-0").stdout
    assert "does not fit the budget" in log
    status = job.status
    assert (status["state"], status["detail"].partition(":")[0]) == ("FAILED", "refused_budget")


def test_bare_apply_of_another_recipe_into_a_run_is_refused_in_the_pod(user: Trainer):
    first = user.submit("1", QUICK)
    first.wait_for_end()
    other = user.mdiff(*user.order("2", (*QUICK, "model.depth=2")), "--dry-run", "--runs-dir", str(user.home / "other")).stdout
    user.kubectl("apply", "-f", "-", stdin=other)
    job = Job(user, f"{user.run}-stage-2")
    assert "Failed" in job.wait_for_end(), job.everything()
    assert "has begun with other settings" in user.kubectl("logs", f"{job.name}-master-0").stdout
    assert "model.depth" in job.status["detail"]


def test_crash_of_the_job_is_not_tried_again(user: Trainer):
    job = user.submit("1", LONG)
    job.wait_for_step(5)
    subprocess.run(["pkill", "--signal", "KILL", "--newest", "--full", f"mdiff.train .* /runs/{user.run} "], check=True)
    assert "Failed" in job.wait_for_end(), job.everything()
    assert job.reasons == ["failed"]
    assert job.status["state"] == "FAILED"
    assert_billed(job)
    assert "SIGKILL" in job.status["detail"] or "exit code" in job.status["detail"] or "Error" in job.status["detail"]
