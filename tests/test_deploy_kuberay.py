"""The KubeRay job of deploy/, as far as it can be checked without a cluster."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy_checks import parsed

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


# Fields and their types by KubeRay's API reference (ray.io/v1); "!" marks those that must be there.
POD = {"template!": dict, "rayStartParams": dict, "serviceType": str, "headService": dict}
FIELDS: dict[str, dict[str, Any]] = {
    "RayJob": {"apiVersion!": str, "kind!": str, "metadata!": dict, "spec!": dict},
    "RayJobSpec": {
        "activeDeadlineSeconds": int,
        "backoffLimit": int,
        "rayClusterSpec!": dict,
        "submitterPodTemplate": dict,
        "metadata": dict,
        "clusterSelector": dict,
        "submitterConfig": dict,
        "managedBy": str,
        "entrypoint!": str,
        "runtimeEnvYAML": str,
        "jobId": str,
        "submissionMode": str,
        "entrypointResources": str,
        "entrypointNumCpus": float,
        "entrypointNumGpus": float,
        "ttlSecondsAfterFinished": int,
        "shutdownAfterJobFinishes": bool,
        "suspend": bool,
    },
    "RayClusterSpec": {
        "suspend": bool,
        "managedBy": str,
        "autoscalerOptions": dict,
        "headServiceAnnotations": dict,
        "enableInTreeAutoscaling": bool,
        "gcsFaultToleranceOptions": dict,
        "headGroupSpec!": dict,
        "rayVersion": str,
        "workerGroupSpecs": list,
    },
    "AutoscalerOptions": {"idleTimeoutSeconds": int, "upscalingMode": str, "version": str, "resources": dict},
    "HeadGroupSpec": POD | {"enableIngress": bool},
    "WorkerGroupSpec": POD
    | {
        "groupName!": str,
        "replicas": int,
        "minReplicas": int,
        "maxReplicas": int,
        "suspend": bool,
        "numOfHosts": int,
        "scaleStrategy": dict,
    },
    "Container": {
        "name!": str,
        "image!": str,
        "resources": dict,
        "volumeMounts": list,
        "env": list,
        "envFrom": list,
    },
    "VolumeMount": {"name!": str, "mountPath!": str, "readOnly": bool, "subPath": str},
}
# Kubernetes' resource.Quantity.
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?")


def check_fields(kind: str, node: Mapping[str, Any]) -> None:
    fields = {name.rstrip("!"): cls for name, cls in FIELDS[kind].items()}
    for name in (name[:-1] for name in FIELDS[kind] if name.endswith("!")):
        assert name in node, f"{kind}: {name} is missing"
    for name, value in node.items():
        assert name in fields, f"{kind} has no field {name}"
        assert type(value) is fields[name], f"{kind}.{name}: {value!r}"


def groups(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def check_job(job: Mapping[str, Any]) -> None:
    check_fields("RayJob", job)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", job["metadata"]["name"])
    check_fields("RayJobSpec", job["spec"])
    cluster = job["spec"]["rayClusterSpec"]
    check_fields("RayClusterSpec", cluster)
    check_fields("AutoscalerOptions", cluster["autoscalerOptions"])
    check_fields("HeadGroupSpec", cluster["headGroupSpec"])
    for group in cluster["workerGroupSpecs"]:
        check_fields("WorkerGroupSpec", group)
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in groups(job):
        assert all(type(value) is str for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        assert f"USER {pod['securityContext']['fsGroup']}\n" in (DEPLOY / "Dockerfile").read_text()
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            check_fields("Container", container)
            for amounts in container["resources"].values():
                assert all(QUANTITY.fullmatch(str(amount)) for amount in amounts.values()), amounts
            for mount in container["volumeMounts"]:
                check_fields("VolumeMount", mount)
                assert mount["name"] in volumes


def test_the_rayjob_has_the_fields_of_the_custom_resource():
    check_job(load("kuberay-rayjob.yaml"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "entryPoint"), "spinesearch"),
        (("spec", "backoffLimit"), "10"),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "maxReplicas"), -1),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "volumes"), []),
    ],
)
def test_that_check_sees_mistakes(path: tuple[str | int, ...], value: object):
    job: Any = load("kuberay-rayjob.yaml")
    node = job
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with pytest.raises(AssertionError):
        check_job(job)


def test_the_run_of_the_rayjob_outlives_its_cluster(capsys):
    """A retry makes a new cluster, so the run has to be on a claim that the head may write."""
    job = load("kuberay-rayjob.yaml")
    assert job["spec"]["backoffLimit"] > 0
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    config = parsed(shlex.split(job["spec"]["entrypoint"]), capsys)
    pod = groups(job)[0]["template"]["spec"]
    claims = {volume["name"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume}
    (container,) = pod["containers"]
    paths = [
        mount["mountPath"]
        for mount in container["volumeMounts"]
        if mount["name"] in claims and not mount.get("readOnly")
    ]
    assert any(config.runs_dir.startswith(f"{path}/") for path in paths)


def test_the_rayjob_asks_for_gpus_that_its_cluster_can_come_to_have(capsys):
    job = load("kuberay-rayjob.yaml")
    config = parsed(shlex.split(job["spec"]["entrypoint"]), capsys)
    num_gpus = sum(
        group["maxReplicas"] * container["resources"]["limits"].get("nvidia.com/gpu", 0)
        for group in groups(job)[1:]
        for container in group["template"]["spec"]["containers"]
    )
    # Stated, not found out: at its start the cluster has no worker and no GPU.
    assert config.search.num_workers is not None
    assert config.search.gpus_per_trial is not None
    assert config.search.num_workers * config.search.gpus_per_trial == num_gpus
    assert job["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] is True
    assert groups(job)[0]["rayStartParams"]["num-cpus"] == "0"


def test_the_rayjob_names_the_pinned_ray():
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    version = load("kuberay-rayjob.yaml")["spec"]["rayClusterSpec"]["rayVersion"]
    assert f"\nray=={version}\n" in pins
