"""The overlays are what Kubernetes and the Dask Operator take, and keep to rules of safety; planted
mistakes are found.
"""

import copy
import functools
import json
import shutil
import subprocess

import jsonschema
import pytest
import referencing
import yaml

from tests.conftest import ROOT
from tests.registries import pypi_files
from xpscale.runtime.executors.dask import worker_environment
from xpscale.settings.file import load_settings

OVERLAYS = ("cpu", "gpu", "spot")
OPERATOR = "dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator/crds"
SCHEMAS = "kubernetes_validate/kubernetes-json-schema/v1.37.0-local-strict"


@pytest.fixture(scope="module")
def rendered():
    """The objects of each overlay, as kustomize makes them."""
    if shutil.which("kustomize"):
        command = ["kustomize", "build"]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    else:
        pytest.skip("neither kustomize nor kubectl is installed")
    found = {}
    for name in OVERLAYS:
        place = ROOT / "deploy/kubernetes" / name
        made = subprocess.run([*command, place], capture_output=True, text=True, check=True)
        assert not made.stderr
        found[name] = list(yaml.safe_load_all(made.stdout))
    return found


def strict(schema):
    """The same schema, in which a field that it does not know is a mistake."""
    if isinstance(schema, dict):
        known = "properties" in schema and "additionalProperties" not in schema
        free = schema.get("x-kubernetes-preserve-unknown-fields")
        whole = {key: strict(value) for key, value in schema.items()}
        return {**whole, "additionalProperties": False} if known and not free else whole
    return [strict(one) for one in schema] if isinstance(schema, list) else schema


@pytest.fixture(scope="module")
def validator_of():
    """What validates an object: the operator's definitions, or the schemas of Kubernetes."""
    definitions, found = pypi_files("dask-kubernetes==2026.3.0") / OPERATOR, {}
    for name in ("daskcluster", "daskautoscaler"):
        one = yaml.load((definitions / f"{name}.yaml").read_text(), yaml.CSafeLoader)
        schema = strict(one["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
        schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
        found[one["spec"]["names"]["kind"]] = jsonschema.Draft202012Validator(schema)
    folder = pypi_files("kubernetes-validate==1.37.0") / SCHEMAS
    shared = json.loads((folder / "_definitions.json").read_text())
    registry = referencing.Registry().with_resource(
        "https://kubernetes.io/api/_definitions.json", referencing.Resource.from_contents(shared)
    )

    @functools.cache
    def validator(kind, version):
        if version.startswith("kubernetes.dask.org/"):
            return found[kind]
        name = f"{kind}-{version.replace('.k8s.io', '').replace('/', '-')}.json".lower()
        schema = json.loads((folder / name).read_text())
        return jsonschema.Draft202012Validator(schema, registry=registry)

    return validator


def pods(objects):
    """Name and specification of every pod that will be."""
    for one in objects:
        if one["kind"] == "DaskCluster":
            for name in ("scheduler", "worker"):
                yield name, one["spec"][name]["spec"], one["spec"][name]["metadata"]["labels"]
        if one["kind"] == "Job":
            template = one["spec"]["template"]
            yield "client", template["spec"], template["metadata"]["labels"]


def mistakes(objects, validator_of):
    """What is wrong with the objects of an overlay, in words."""
    found = []
    for one in objects:
        errors = validator_of(one["kind"], one["apiVersion"]).iter_errors(one)
        found += [f"{one['kind']}: {error.json_path}: {error.message}" for error in errors]
    if found:
        return found
    kinds = [one["kind"] for one in objects]
    for kind in ("DaskCluster", "Job", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount"):
        found += [f"no {kind}"] * (kind not in kinds)
    clusters = {one["metadata"]["name"] for one in objects if one["kind"] == "DaskCluster"}
    for one in objects:
        if one["kind"] == "DaskAutoscaler" and one["spec"]["cluster"] not in clusters:
            found.append("the autoscaler is of another cluster")
    policies = [one["spec"] for one in objects if one["kind"] == "NetworkPolicy"]
    if any(not rule.get("from") for policy in policies for rule in policy.get("ingress", [])):
        found.append("a network policy lets everybody in")
    for name, pod, labels in pods(objects):
        found += [f"{name}: {what}" for what in unsafe(pod, name)]
        if not any(
            labels.items() >= policy["podSelector"]["matchLabels"].items() for policy in policies
        ):
            found.append(f"{name}: no network policy")
    return found


def unsafe(pod, name):
    """Rules that a pod breaks."""
    (container,) = pod["containers"]
    of_pod, of_container = pod.get("securityContext", {}), container.get("securityContext", {})
    resources = container.get("resources", {})
    literal = [
        one["name"]
        for one in container.get("env", [])
        if "value" in one and any(word in one["name"] for word in ("SECRET", "KEY", "TOKEN"))
    ]
    written = {one["mountPath"] for one in container.get("volumeMounts", [])}
    rules = {
        "runs as root": of_pod.get("runAsNonRoot") and of_pod.get("runAsUser", 0) > 0,
        "no seccomp profile": of_pod.get("seccompProfile", {}).get("type") == "RuntimeDefault",
        "writable root": of_container.get("readOnlyRootFilesystem"),
        "may gain privileges": of_container.get("allowPrivilegeEscalation") is False,
        "has capabilities": of_container.get("capabilities", {}).get("drop") == ["ALL"],
        "no requests": {"cpu", "memory"} <= set(resources.get("requests", {})),
        "no memory limit": "memory" in resources.get("limits", {}),
        "speaks to Kubernetes": pod.get("automountServiceAccountToken") is False,
        "a secret in plain words": not literal,
        "nowhere to write": "/tmp" in written,
        "no probes": name == "client" or {"livenessProbe", "readinessProbe"} <= set(container),
        "no image tag": ":" in container["image"].rpartition("/")[2],
    }
    return [rule for rule, holds in rules.items() if not holds]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_valid_and_safe(rendered, validator_of, overlay):
    assert mistakes(rendered[overlay], validator_of) == []


def of_kind(objects, kind):
    return next(one for one in objects if one["kind"] == kind)


def worker(objects):
    return of_kind(objects, "DaskCluster")["spec"]["worker"]["spec"]["containers"][0]


PLANTED = {
    "four is not of type": lambda all: of_kind(all, "DaskCluster")["spec"]["worker"].update(
        replicas="four"
    ),
    "imagePullPolcy": lambda all: worker(all).update(imagePullPolcy="Always"),
    "'name' is a required": lambda all: worker(all).pop("name"),
    "'minimum' is a required": lambda all: of_kind(all, "DaskAutoscaler")["spec"].pop("minimum"),
    "another cluster": lambda all: of_kind(all, "DaskAutoscaler")["spec"].update(cluster="xpscal"),
    "backofLimit": lambda all: of_kind(all, "Job")["spec"].update(backofLimit=3),
    "no NetworkPolicy": lambda all: [
        all.remove(one) for one in list(all) if one["kind"] == "NetworkPolicy"
    ],
    "lets everybody in": lambda all: of_kind(all, "NetworkPolicy")["spec"]["ingress"].append({}),
    "writable root": lambda all: worker(all)["securityContext"].pop("readOnlyRootFilesystem"),
    "runs as root": lambda all: of_kind(all, "Job")["spec"]["template"]["spec"].pop(
        "securityContext"
    ),
    "no memory limit": lambda all: worker(all)["resources"].pop("limits"),
    "a secret in plain": lambda all: worker(all)["env"].append(
        {"name": "AWS_SECRET_ACCESS_KEY", "value": "x"}
    ),
    "no probes": lambda all: worker(all).pop("livenessProbe"),
}


@pytest.mark.parametrize("said", PLANTED)
def test_a_planted_mistake_is_found(rendered, validator_of, said):
    objects = copy.deepcopy(rendered["spot"])
    PLANTED[said](objects)
    found = " / ".join(mistakes(objects, validator_of)).replace("'four'", "four")
    assert said in found


def test_each_overlay_is_what_it_is_called(rendered):
    images = {
        name: {pod["containers"][0]["image"] for _, pod, _ in pods(objects)}
        for name, objects in rendered.items()
    }
    assert images == {
        "cpu": {"registry.example/xpscale:cpu"},
        "gpu": {"registry.example/xpscale:cuda"},
        "spot": {"registry.example/xpscale:cpu"},
    }
    assert worker(rendered["gpu"])["resources"]["limits"]["nvidia.com/gpu"] == "1"
    arguments = of_kind(rendered["gpu"], "Job")["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--resources=GPU=1" in arguments
    assert of_kind(rendered["spot"], "DaskAutoscaler")["spec"]["maximum"] == 32


def test_the_settings_of_the_client_can_be_read(rendered):
    settings = load_settings(ROOT / "deploy/kubernetes/base/settings.toml")
    assert settings.data.store.startswith("s3://")
    (service,) = of_kind(rendered["cpu"], "DaskCluster")["spec"]["scheduler"]["service"]["ports"][
        :1
    ]
    name = of_kind(rendered["cpu"], "DaskCluster")["metadata"]["name"]
    assert settings.cluster.address == f"tcp://{name}-scheduler:{service['port']}"


def test_exit_codes_of_the_job_are_those_that_do_not_pass(rendered):
    rules = of_kind(rendered["cpu"], "Job")["spec"]["podFailurePolicy"]["rules"]
    values = next(rule["onExitCodes"]["values"] for rule in rules if "onExitCodes" in rule)
    assert 75 not in values
    assert {2, 3, 4, 5, 20, 70} == set(values)


def test_the_image_has_the_environment_of_workers():
    text = (ROOT / "deploy/images/Dockerfile").read_text()
    for name, value in worker_environment.items():
        assert f"{name}={value}" in text
