"""What `foretail train --on kubeflow` asks a cluster for, and what it makes of the answers."""

from __future__ import annotations

import socket
import sys
from importlib.util import find_spec

import pytest
import yaml
from cluster import Cluster, context
from kustomized import KUBERNETES
from manifest_schemas import schemas

from foretail.cli.forecasting import train
from foretail.core.errors import MissingExtraError, ServiceError, UsageError
from foretail.core.settings import Settings
from foretail.pipelines.kubeflow import RUNTIME, Place, train_on_kubeflow
from foretail.pipelines.request import Request

pytestmark = [
    pytest.mark.skipif(find_spec("kubeflow") is None, reason="needs foretail[kubeflow]"),
    pytest.mark.filterwarnings("ignore:Support for class-based `config`:DeprecationWarning"),  # of the SDK, on import
]
SALES = Request("/data/sales.parquet", keys=("store", "dept"), models=("neural",), name="Sales & More", seed=11)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A cluster with the runtime that is shipped, as the current Kubernetes context."""
    schemas()
    runtime = yaml.safe_load((KUBERNETES / "bases" / "training" / "runtime.yaml").read_text(encoding="utf-8"))
    with Cluster(runtime) as running:
        choose(monkeypatch, context(tmp_path / "config", running.server.server_address[1]))
        yield running


def choose(monkeypatch, path):
    """Make a configuration the current one; the Kubernetes client reads KUBECONFIG only when it is imported."""
    monkeypatch.setenv("KUBECONFIG", path)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", path)


def submit(tmp_path, place=None, request=SALES, wait=False):
    lines = []
    result = train_on_kubeflow(
        request, tmp_path, place or Place(), Settings(home=tmp_path), wait=wait, tell=lines.append
    )
    return result, lines


def test_the_job_is_what_the_operators_schema_allows(cluster, tmp_path):
    result, _ = submit(tmp_path, Place(nodes=3, processes=2))
    assert cluster.refused == []
    (job,) = cluster.jobs()
    assert job["metadata"]["name"] == result["job"]
    assert job["metadata"]["namespace"] == result["namespace"] == "forecasts"
    assert job["spec"]["runtimeRef"]["name"] == RUNTIME
    assert job["spec"]["trainer"]["numNodes"] == result["nodes"] == 3
    assert job["spec"]["trainer"]["image"].startswith("foretail:")
    assert "command" not in job["spec"]["trainer"]  # the runtime's own: no program travels


def test_its_arguments_are_a_command_that_foretail_reads(cluster, tmp_path):
    result, _ = submit(tmp_path)
    (job,) = cluster.jobs()
    given = train.make_context("train", list(job["spec"]["trainer"]["args"])).params
    assert (given["table"], given["keys"], given["models"]) == (SALES.table, SALES.keys, SALES.models)
    assert (given["seed"], given["name"], given["on"]) == (11, "Sales & More", "here")
    assert str(given["out"]) == f"/work/{result['job']}"


def test_nodes_are_the_runtimes_when_none_are_asked_for(cluster, tmp_path):
    runtime = yaml.safe_load((KUBERNETES / "bases" / "training" / "runtime.yaml").read_text(encoding="utf-8"))
    result, _ = submit(tmp_path)
    assert result["nodes"] == runtime["spec"]["mlPolicy"]["numNodes"]
    assert result["status"] == "Created"


def test_names_are_new_each_time_and_fit_kubernetes(cluster, tmp_path):
    names = {submit(tmp_path)[0]["job"] for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("foretail-sales-more-") and len(name) < 50 for name in names)


def test_a_namespace_of_ones_own(cluster, tmp_path):
    result, _ = submit(tmp_path, Place(namespace="team-a"))
    assert cluster.jobs()[0]["metadata"]["namespace"] == result["namespace"] == "team-a"


def test_a_job_that_is_waited_for_and_completes(cluster, tmp_path):
    cluster.ends, cluster.log = "Complete", "epoch 1\nregistered version 7"
    result, lines = submit(tmp_path, wait=True)
    assert result["status"] == "Complete"
    assert lines == ["epoch 1", "registered version 7"]


def test_a_job_that_fails_is_an_error_with_the_end_of_its_log(cluster, tmp_path):
    cluster.ends, cluster.log = "Failed", "epoch 1\nerror: no column 'sales'"
    with pytest.raises(ServiceError, match=r"(?s)failed.*no column 'sales'.*kubectl describe trainjob foretail-"):
        submit(tmp_path, wait=True)


def test_a_log_that_may_not_be_read_does_not_hide_how_the_job_ended(cluster, tmp_path):
    cluster.ends = "Complete"
    result, lines = submit(tmp_path, wait=True)
    assert result["status"] == "Complete"
    assert "logs are not for you" in lines[0]


def test_a_job_that_vanishes_is_not_a_runtime_that_is_missing(cluster, tmp_path):
    cluster.forgets = True
    with pytest.raises(ServiceError, match=r"(?s)TrainJob foretail-\S+ is lost from sight.*404.*may be running still"):
        submit(tmp_path, wait=True)


def test_a_runtime_that_is_not_there(cluster, tmp_path):
    with pytest.raises(ServiceError, match=r"(?s)runtime 'gpu-pool'.*kubectl apply -k") as caught:
        submit(tmp_path, Place(runtime="gpu-pool"))
    assert cluster.jobs() == []
    assert caught.value.__cause__ is not None


def test_a_job_that_the_cluster_refuses(cluster, tmp_path):
    """The schema's own answer to a number of nodes that is none (the command line does not let it through)."""
    with pytest.raises(ServiceError, match=r"422 spec\.trainer\.numNodes"):
        submit(tmp_path, Place(namespace="team-a", nodes=2**40))
    assert cluster.jobs() == []


def test_a_cluster_that_does_not_answer(tmp_path, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    choose(monkeypatch, context(tmp_path / "config", port))
    with pytest.raises(ServiceError, match=r"(?s)refused.*kubectl get trainjobs"):
        submit(tmp_path)


def test_no_cluster_is_configured(tmp_path, monkeypatch):
    choose(monkeypatch, str(tmp_path / "none"))
    with pytest.raises(ServiceError, match=r"(?s)no Kubernetes cluster is configured.*none.*kubeflow-local"):
        submit(tmp_path)


@pytest.mark.parametrize("table", ["sales.csv", "/home/me/sales.parquet", "file:///data/sales.csv", "folder/sales"])
def test_a_file_of_this_machine_is_refused(tmp_path, table):
    with pytest.raises(UsageError, match=r"(?s)TABLE is a file of this machine.*s3://.*/data/"):
        submit(tmp_path, request=Request(table))


def test_so_is_a_file_beside_the_table(tmp_path):
    with pytest.raises(UsageError, match=r"(?s)--future.*next\.csv"):
        submit(tmp_path, request=Request("s3://sales/all.parquet", future="next.csv"))


@pytest.mark.parametrize("models", [("auto",), ("boosting",), ("neural", "boosting")])
def test_a_family_that_a_node_would_refuse_is_refused_here(tmp_path, models):
    with pytest.raises(UsageError, match=r"(?s)only the neural family.*--models neural"):
        submit(tmp_path, request=Request("s3://sales/all.parquet", models=models))


@pytest.mark.parametrize("place", [Place(), Place(local=True)])
def test_without_the_extra_it_says_how_to_get_it(tmp_path, monkeypatch, place):
    monkeypatch.setitem(sys.modules, "kubeflow.trainer", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'foretail\[kubeflow\]'"):
        submit(tmp_path, place)


@pytest.mark.parametrize("table", ["s3://sales/all.parquet", "/data/sales.csv", "synthetic:weekly-5k", "rossmann"])
def test_what_every_node_can_read_is_taken(cluster, tmp_path, table):
    submit(tmp_path, request=Request(table, models=("neural[hidden=64]",)))
    assert cluster.jobs()[0]["spec"]["trainer"]["args"][0] == table
