"""Strict schemas for manifests: Kubernetes' own kinds, and the operators' from their custom resource definitions."""

from __future__ import annotations

import gzip
import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

KUBERNETES = "1.33"
FILES = {
    "InferenceService": "serving.kserve.io_inferenceservices.yaml.gz",
    "TrainJob": "trainer.kubeflow.org_trainjobs.yaml.gz",
    "ClusterTrainingRuntime": "trainer.kubeflow.org_clustertrainingruntimes.yaml.gz",
}


def faults(manifest: dict[str, Any]) -> list[str]:
    """What a server that refuses unknown fields would refuse, as ``path: message``."""
    if manifest["kind"] in FILES:
        found = _validator(manifest["kind"], manifest["apiVersion"]).iter_errors(manifest)
        listed = [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]
        listed += _kubernetes_faults({"apiVersion": "v1", "kind": "ConfigMap", "metadata": manifest["metadata"]})
        return listed + [fault for template in pod_templates(manifest) for fault in _pod_faults(template)]
    return _kubernetes_faults(manifest)


def pod_templates(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The pod specs that a manifest of an operator's kind holds."""
    spec = manifest["spec"]
    if manifest["kind"] == "InferenceService":
        return [spec["predictor"], *(entry["predictor"] for entry in spec.get("canary", []))]
    if manifest["kind"] == "ClusterTrainingRuntime":
        return [job["template"]["spec"]["template"]["spec"] for job in spec["template"]["spec"]["replicatedJobs"]]
    return []


def _pod_faults(pod: dict[str, Any]) -> list[str]:
    """The part of a pod spec that is a plain one, against Kubernetes' own rules (formats, ranges)."""
    plain = {key: pod[key] for key in ("containers", "volumes", "securityContext") if key in pod}
    return _kubernetes_faults({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": plain})


def _kubernetes_faults(manifest: dict[str, Any]) -> list[str]:
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.path))}: {error.message}"]
    return []


def schemas() -> Path:
    """The folder of the operators' definitions; the test skips without one."""
    folder = os.environ.get("FORETAIL_SCHEMAS")
    if not folder:
        pytest.skip("needs the operators' definitions: set FORETAIL_SCHEMAS to the folder that holds them")
    return Path(folder)


@cache
def _validator(kind: str, api_version: str) -> jsonschema.Draft202012Validator:
    definition = _definition(schemas() / FILES[kind])
    group, version = api_version.split("/")
    assert definition["spec"]["group"] == group
    served = {entry["name"]: entry for entry in definition["spec"]["versions"] if entry["served"]}
    return jsonschema.Draft202012Validator(closed(served[version]["schema"]["openAPIV3Schema"]))


def _definition(path: Path) -> dict[str, Any]:
    with gzip.open(path) as file:
        return next(document for document in yaml.load_all(file, Loader=_LOADER) if document)


def closed(schema: Any) -> Any:
    """The schema with unknown fields refused wherever fields are listed, and numbers that do not fit."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    done = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        open_to_all = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
        done.setdefault("additionalProperties", bool(open_to_all))
    if schema.get("format") == "int32":
        done = {"minimum": -(2**31), "maximum": 2**31 - 1, **done}
    return done


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
