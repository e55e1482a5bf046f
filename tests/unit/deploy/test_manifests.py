"""Manifests are what the operators' and Kubernetes' own schemas allow, and keep the house's rules of safety."""

from __future__ import annotations

import copy
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from kustomized import KUBERNETES, OVERLAYS, ROOT, rendered
from manifest_schemas import FILES, faults, pod_templates

from foretail import __version__
from foretail.core.settings import Settings


def pods(overlays):
    """``(overlay, kind, pod spec)`` of everything that runs."""
    return [
        (overlay, item["kind"], pod)
        for overlay, items in overlays.items()
        for item in items
        if item["kind"] in FILES
        for pod in pod_templates(item)
    ]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_passes_strictly(overlays, overlay):
    found = {f"{item['kind']}/{item['metadata']['name']}": faults(item) for item in overlays[overlay]}
    assert {name: list_ for name, list_ in found.items() if list_} == {}


def broken(find, overlay, kind, path, value):
    """A manifest with one value at a path put in (or taken out, for None)."""
    manifest = copy.deepcopy(find(overlay, kind))
    *way, last = path
    place = manifest
    for step in way:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return manifest


NODE = ("spec", "template", "spec", "replicatedJobs", 0, "template", "spec", "template", "spec", "containers", 0)
SERVER = ("spec", "predictor", "containers", 0)


@pytest.mark.parametrize(
    ("overlay", "kind", "path", "value"),
    [
        ("serving-pvc", "InferenceService", ("spec", "predictor", "minReplica"), 2),
        ("serving-pvc", "InferenceService", ("spec", "predictor", "scaleMetric"), "requests"),
        ("serving-pvc", "InferenceService", (*SERVER, "readinesProbe"), {}),
        ("serving-pvc", "InferenceService", (*SERVER, "resources", "limits", "memory"), "2 Gi"),
        ("serving-canary", "InferenceService", ("spec", "canary", 0, "trafficPercent"), 101),
        ("serving-canary", "InferenceService", ("spec", "canary", 0, "trafficPercent"), None),
        ("serving-canary", "InferenceService", ("spec", "canary", 0, "percent"), 10),
        ("serving-serverless", "InferenceService", ("spec", "predictor", "containerConcurrency"), "many"),
        ("training-cpu", "TrainJob", ("spec", "trainer", "nodes"), 2),
        ("training-cpu", "TrainJob", ("spec", "trainer", "numNodes"), "two"),
        ("training-cpu", "TrainJob", ("spec", "runtimeRef"), None),
        ("training-cpu", "ClusterTrainingRuntime", ("spec", "mlPolicy", "torch", "nproc"), 2),
        ("training-cpu", "ClusterTrainingRuntime", (*NODE, "enviroment"), []),
        ("training-cpu", "ClusterTrainingRuntime", ("metadata", "label"), {}),
        ("serving-pvc", "PodDisruptionBudget", ("spec", "minAvailble"), 1),
        ("serving-pvc", "NetworkPolicy", ("spec", "ingress", 0, "ports", 0, "ports"), 8080),
    ],
)
def test_a_wrong_field_is_found(find, overlay, kind, path, value):
    assert faults(find(overlay, kind)) == []
    assert faults(broken(find, overlay, kind, path, value))


def test_every_pod_is_confined(overlays):
    seen = 0
    for overlay, kind, pod in pods(overlays):
        for container in pod["containers"]:
            seen += 1
            context = {**pod.get("securityContext", {}), **container["securityContext"]}
            said = f"{overlay} {kind} {container['name']}"
            assert context["runAsNonRoot"] is True, said
            assert context["runAsUser"] >= 10000, said
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}, said
            assert context["allowPrivilegeEscalation"] is False, said
            assert context["readOnlyRootFilesystem"] is True, said
            assert context["capabilities"] == {"drop": ["ALL"]}, said
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), said
            assert {"cpu", "memory"} <= set(container["resources"]["limits"]), said
    assert seen == len(OVERLAYS) + 1  # the canary has two


def test_a_server_is_probed_and_may_finish(overlays):
    for overlay, kind, pod in pods(overlays):
        if kind == "InferenceService":
            (container,) = pod["containers"]
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), overlay
            if "serverless" not in overlay:
                assert pod["terminationGracePeriodSeconds"] > pod["timeout"], overlay


def test_no_credential_no_program_and_no_install_at_start(overlays):
    for overlay, items in overlays.items():
        kinds = {item["kind"] for item in items}
        assert "Secret" not in kinds, overlay
        for item in items:
            if item["kind"] == "ConfigMap":
                assert all("\n" not in value and len(value) < 200 for value in item["data"].values()), overlay
        text = yaml.safe_dump_all(items)
        assert not re.search(r"\bpip\b|apt-get|/bin/sh|\bbash\b|curl ", text), overlay
        for _, _, pod in pods({overlay: items}):
            for variable in (variable for container in pod["containers"] for variable in container.get("env", [])):
                assert not re.search(r"PASSWORD|SECRET|TOKEN|KEY", variable["name"]) or "valueFrom" in variable, overlay


def test_settings_hold_no_credential(overlays):
    for items in overlays.values():
        for item in items:
            if item["kind"] == "ConfigMap":
                assert not [name for name in item["data"] if re.search(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY", name)]
                assert not [value for value in item["data"].values() if re.search(r"://[^/]*@", value)]


def test_settings_are_such_as_foretail_reads(overlays):
    known = {f"FORETAIL_{item.name.upper()}" for item in fields(Settings)}
    known |= {"MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "FEAST_USAGE"}
    for overlay, items in overlays.items():
        for item in items:
            if item["kind"] == "ConfigMap":
                assert set(item["data"]) <= known, overlay
                Settings.load(environ=item["data"])  # an unknown value is an error


def test_references_are_to_what_is_shipped_or_may_be_absent(overlays):
    """Config maps, accounts and claims that a pod names are in the same overlay; secrets are all optional."""
    for overlay, items in overlays.items():
        names = {(item["kind"], item["metadata"]["name"]) for item in items}
        for _, _, pod in pods({overlay: items}):
            assert ("ServiceAccount", pod["serviceAccountName"]) in names, overlay
            for source in (source for container in pod["containers"] for source in container["envFrom"]):
                if "secretRef" in source:
                    assert source["secretRef"]["optional"] is True, overlay
                else:
                    assert ("ConfigMap", source["configMapRef"]["name"]) in names, overlay
            for volume in pod["volumes"]:
                claim = volume.get("persistentVolumeClaim")
                assert claim is None or ("PersistentVolumeClaim", claim["claimName"]) in names, overlay


def test_a_network_policy_covers_every_pod(find):
    policy = find("training-cpu", "NetworkPolicy")["spec"]
    job = find("training-cpu", "ClusterTrainingRuntime")["spec"]["template"]["spec"]["replicatedJobs"][0]
    labels = job["template"]["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    service = find("serving-canary", "InferenceService")["spec"]
    policy = find("serving-canary", "NetworkPolicy")["spec"]
    for predictor in (service["predictor"], service["canary"][0]["predictor"]):
        assert policy["podSelector"]["matchLabels"].items() <= predictor["labels"].items()
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}


def test_pods_carry_no_token_of_the_cluster(overlays):
    for overlay, items in overlays.items():
        accounts = [item for item in items if item["kind"] == "ServiceAccount"]
        assert accounts, overlay
        assert all(account["automountServiceAccountToken"] is False for account in accounts), overlay


def test_images_are_of_this_version_and_of_no_registry(overlays):
    images = {container["image"] for _, _, pod in pods(overlays) for container in pod["containers"]}
    assert images == {f"foretail:{__version__}"}


def test_an_overlay_of_ones_own_can_rename_every_image(tmp_path):
    """As docs/deploy.md shows; kustomize finds images by their place, also in the operators' kinds."""
    above = Path(*[".."] * (len(tmp_path.resolve().parts) - 1)) / KUBERNETES.relative_to("/") / "overlays"
    resources = [str(above / name) for name in ("serving-canary", "training-cpu")]
    images = [{"name": "foretail", "newName": "images.example/team/foretail", "newTag": "7"}]
    content = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({**content, "resources": resources, "images": images}))
    found = [container["image"] for _, _, pod in pods({"own": rendered(tmp_path)}) for container in pod["containers"]]
    assert found == ["images.example/team/foretail:7"] * 3


def test_the_job_names_the_runtime_that_is_shipped(find):
    for overlay in ("training-cpu", "training-gpu"):
        runtime = find(overlay, "ClusterTrainingRuntime")
        reference = find(overlay, "TrainJob")["spec"]["runtimeRef"]
        assert reference["name"] == runtime["metadata"]["name"]
        assert reference["kind"] == runtime["kind"]
        assert reference["apiGroup"] == runtime["apiVersion"].split("/")[0]


def test_the_gpu_overlay_asks_for_one_gpu_per_process(find):
    trainer = find("training-gpu", "TrainJob")["spec"]["trainer"]
    assert int(trainer["resourcesPerNode"]["limits"]["nvidia.com/gpu"]) == trainer["numProcPerNode"]


def storage(predictor):
    return {item["name"]: item.get("value") for item in predictor["containers"][0]["env"]}.get("STORAGE_URI")


def test_storage_and_model_of_each_overlay(find):
    where = {name: find(name, "InferenceService")["spec"]["predictor"] for name in OVERLAYS if "serving" in name}
    assert storage(where["serving-pvc"]).startswith("pvc://foretail-models/")
    assert storage(where["serving-s3"]).startswith("s3://")
    assert storage(where["serving-serverless"]).startswith("s3://")
    assert storage(where["serving-registry"]) is None
    assert "--model=sales-forecast@champion" in where["serving-registry"]["containers"][0]["args"]


def test_the_canary_is_the_champion_with_another_bundle(find):
    spec = find("serving-canary", "InferenceService")["spec"]
    (canary,) = spec["canary"]
    champion, challenger = spec["predictor"], canary["predictor"]
    assert canary["trafficPercent"] == 10
    assert storage(champion) != storage(challenger)
    same = copy.deepcopy(challenger["containers"])
    next(item for item in same[0]["env"] if item["name"] == "STORAGE_URI")["value"] = storage(champion)
    assert same == champion["containers"]
    assert challenger["name"]
    assert not {"maxReplicas", "scaleMetric", "scaleTarget", "autoScaling"} & set(challenger)


def test_a_canary_is_said_in_the_words_of_its_mode(find):
    """`canaryTrafficPercent` is ignored by plain deployments, and `canary` is refused by serverless ones."""
    plain = find("serving-canary", "InferenceService")
    assert plain["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    assert "canaryTrafficPercent" not in plain["spec"]["predictor"]
    serverless = find("serving-serverless-canary", "InferenceService")
    assert serverless["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Knative"
    assert serverless["spec"]["predictor"]["canaryTrafficPercent"] == 10
    assert "canary" not in serverless["spec"]


def test_serverless_uses_only_what_knative_takes(find):
    predictor = find("serving-serverless", "InferenceService")["spec"]["predictor"]
    assert len(predictor["containers"][0]["ports"]) == 1
    assert not {"terminationGracePeriodSeconds", "topologySpreadConstraints", "securityContext"} & set(predictor)
    assert predictor["scaleMetric"] in ("concurrency", "rps")


def test_plain_deployments_scale_on_a_metric_of_theirs(find):
    predictor = find("serving-s3", "InferenceService")["spec"]["predictor"]
    assert predictor["scaleMetric"] in ("cpu", "memory")
    assert 1 < predictor["minReplicas"] < predictor["maxReplicas"]
    assert {port["containerPort"] for port in predictor["containers"][0]["ports"]} == {8080, 8081}


def test_a_refused_job_is_not_tried_again(find):
    from foretail.core.errors import DataError, PromotionRefused, UsageError

    job_set = find("training-cpu", "ClusterTrainingRuntime")["spec"]["template"]["spec"]
    job = job_set["replicatedJobs"][0]["template"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["values"] == sorted(kind.exit_code for kind in (UsageError, DataError, PromotionRefused))
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # Kubernetes refuses the policy otherwise
    assert job_set["failurePolicy"]["rules"][0]["onJobFailureReasons"] == ["PodFailurePolicy"]


def test_commands_are_such_as_foretail_reads(find):
    """The words of every container go through the command line's own parser."""
    from foretail.cli.main import cli

    for overlay in OVERLAYS:
        if "serving" in overlay:
            (container,) = find(overlay, "InferenceService")["spec"]["predictor"]["containers"]
            given = read(cli, [*container["command"], *container["args"]])
            assert (given["http_port"], given["grpc_port"], given["host"]) == (8080, 8081, "0.0.0.0")
    runtime = find("training-cpu", "ClusterTrainingRuntime")["spec"]["template"]["spec"]["replicatedJobs"][0]
    (node,) = runtime["template"]["spec"]["template"]["spec"]["containers"]
    given = read(cli, [*node["command"], *find("training-cpu", "TrainJob")["spec"]["trainer"]["args"]])
    assert (given["models"], given["on"]) == (("neural",), "here")


def read(command, words):
    """The options that a command makes of words; a wrong word is an error."""
    program, *rest = words
    assert program == "foretail"
    while hasattr(command, "get_command"):
        command, rest = command.get_command(None, rest[0]), rest[1:]
    return command.make_context(command.name, list(rest)).params


def test_every_file_is_used():
    """A file that no kustomization names is dead."""
    for folder in (path.parent for path in KUBERNETES.rglob("kustomization.yaml")):
        text = (folder / "kustomization.yaml").read_text(encoding="utf-8")
        for file in folder.glob("*.yaml"):
            assert file.name == "kustomization.yaml" or file.name in text, file


def test_every_overlay_is_documented():
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert [name for name in OVERLAYS if f"`{name}`" not in page] == []
