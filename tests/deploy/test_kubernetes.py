"""Kubernetes' files in deploy/ against the schemas of Kubernetes and of the fields that KubeRay and Prometheus read."""

import json
import re
import tomllib
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
HERE = Path(__file__).parent
CLAIM = re.compile(r"^.*# claim\n", re.M)
"""A line that goes where results lie on S3."""


def with_claim() -> str:
    return (DEPLOY / "rayjob.yaml").read_text()


def with_s3() -> str:
    """What the command in docs/cluster.md makes of deploy/rayjob.yaml."""
    return CLAIM.sub("", with_claim()).replace("--storage /results", "--storage s3://my-bucket/results")


def schema(name: str) -> dict:
    found = json.loads((HERE / name).read_text())
    jsonschema.Draft202012Validator.check_schema(found)
    return found


def check(resource: dict) -> None:
    """Raise ValidationError unless the newest Kubernetes knows every field of a resource of its own."""
    kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)


def groups(job: dict) -> list[dict]:
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def pods(job: dict) -> list[dict]:
    """Each group's pod, as a resource of Kubernetes."""
    return [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **one["template"]} for one in groups(job)]


@pytest.mark.parametrize("text", [with_claim(), with_s3()], ids=["claim", "s3"])
def test_the_rayjob_has_only_known_fields_and_asks_for_a_token(text):
    job = yaml.safe_load(text)
    jsonschema.validate(job, schema("rayjob.schema.json"))
    spec = job["spec"]
    assert spec["shutdownAfterJobFinishes"]
    assert {"ttlSecondsAfterFinished", "backoffLimit", "activeDeadlineSeconds", "submissionMode"} <= set(spec)
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    [pinned] = re.findall(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert cluster["rayVersion"] == pinned
    for pod in pods(job):
        check(pod)
        mounted = {mount["name"] for mount in pod["spec"]["containers"][0]["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]}


def test_workers_scale_run_on_the_gpu_pool_and_all_pods_have_one_image_of_this_version():
    job = yaml.safe_load(with_claim())
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is True
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {container["image"] for pod in pods(job) for container in pod["spec"]["containers"]}
    assert images == {f"registry.example.org/tunekit:{version}"}
    for group in cluster["workerGroupSpecs"]:
        assert 1 <= group["minReplicas"] <= group["replicas"] < group["maxReplicas"]
        pod = group["template"]["spec"]
        assert pod["nodeSelector"]
        assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_with_s3_nothing_is_left_of_the_claim():
    text = with_s3()
    assert not CLAIM.search(text)
    assert "s3://my-bucket/results" in yaml.safe_load(text)["spec"]["entrypoint"]
    assert not any("results" in str(pod["spec"]) for pod in pods(yaml.safe_load(text)))


def test_the_claim_is_one_that_many_pods_may_write_and_the_job_uses_it():
    claim = yaml.safe_load((DEPLOY / "claim.yaml").read_text())
    check(claim)
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    volumes = [volume for pod in pods(yaml.safe_load(with_claim())) for volume in pod["spec"]["volumes"]]
    names = {one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one}
    assert names == {claim["metadata"]["name"]}


def test_prometheus_finds_the_metrics_of_every_pod():
    monitor = yaml.safe_load((DEPLOY / "podmonitor.yaml").read_text())
    jsonschema.validate(monitor, schema("podmonitor.schema.json"))
    asked = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
    for pod in pods(yaml.safe_load(with_claim())):
        ports = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
        assert asked <= set(ports)
        assert ports["metrics"] == 8080, "where KubeRay lets Ray export them"


@pytest.mark.parametrize(
    "change", [{"backofLimit": 1}, {"ttlSecondsAfterFinished": "600"}, {"submissionMode": "Http"}], ids=str
)
def test_the_schema_of_the_job_can_refuse(change):
    job = yaml.safe_load(with_claim())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**job, "spec": job["spec"] | change}, schema("rayjob.schema.json"))


def test_the_schemas_of_pods_and_monitors_can_refuse():
    pod = pods(yaml.safe_load(with_claim()))[0]
    pod["spec"]["toleration"] = []
    with pytest.raises(jsonschema.ValidationError, match="toleration"):
        check(pod)
    monitor = yaml.safe_load((DEPLOY / "podmonitor.yaml").read_text())
    monitor["spec"]["podMetricsEndpoints"][0]["port"] = 8080
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(monitor, schema("podmonitor.schema.json"))
