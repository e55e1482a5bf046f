"""train elsewhere: the same `foretail train`, as a Kubeflow TrainJob on a cluster or in a local process of the SDK.

A cluster's nodes run `foretail train` from the image of the runtime (deploy/kubernetes/bases/training), so the table
must be where they can read it. No program travels with such a job, and nothing is installed when it starts.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from foretail.core.errors import MissingExtraError, PromotionRefused, ServiceError, UsageError
from foretail.core.settings import Settings
from foretail.pipelines.request import Request, command_of

if TYPE_CHECKING:
    from kubeflow.trainer import TrainerClient

__all__ = ["DATA_FOLDER", "RUNTIME", "WORK_FOLDER", "Place", "train_on_kubeflow"]

RUNTIME = "foretail-ddp"  # the ClusterTrainingRuntime of deploy/kubernetes/bases/training
DATA_FOLDER, WORK_FOLDER = "/data", "/work"  # where that runtime mounts the sales, and what the nodes write

_LOCAL_RUNTIME = "torch-distributed"  # the only runtime the SDK's local backend knows
_POLL_S = 2
_LONGEST_S = 7 * 24 * 3600
_SHOWN_LINES = 20
_CONNECT_S = 5.0
_EXIT = re.compile(r"Completed with code (-?\d+)")
_REFUSED = 4
_FAMILY = "neural"


@dataclass(frozen=True)
class Place:
    """Where a training job runs.

    Attributes
    ----------
    local : in a process that Kubeflow's SDK starts on this machine, instead of on a cluster.
    nodes : machines (pods); None leaves it to the runtime. processes : ranks per node; None leaves it to the runtime.
    namespace : of the TrainJob; None is that of the current Kubernetes context.
    runtime : name of the ClusterTrainingRuntime (or TrainingRuntime) on the cluster.
    """

    local: bool = False
    nodes: int | None = None
    processes: int | None = None
    namespace: str | None = None
    runtime: str = RUNTIME

    def __post_init__(self) -> None:
        if self.local and (self.nodes or 1) > 1:
            raise UsageError(
                f"{self.nodes} nodes on one machine.\n  where: --on kubeflow-local --nodes {self.nodes}\n"
                "  fix:   --nproc for several processes here; --on kubeflow for several machines"
            )


def train_on_kubeflow(
    request: Request, out: Path, place: Place, settings: Settings, *, wait: bool, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Submit a TrainJob that runs `foretail train` for the request.

    Parameters
    ----------
    request : what to train. On a cluster the table is a URL, a path below ``/data``, or a layout.
    out : folder of the results: of this machine if local; on a cluster they go to ``/work/JOB``.
    wait : return when the job has ended. A local job is always waited for: it ends with this process.
    tell : takes the lines of a finished job's log, one call each.

    Returns
    -------
    ``job, status`` (``Created``, ``Running`` or ``Complete``), ``nodes, runtime, namespace, command``.

    Raises
    ------
    MissingExtraError : the SDK is not installed.
    UsageError : the table is a file of this machine, which a cluster cannot read; another family than neural there.
    ServiceError : no cluster answers, it does not know the runtime, or the job failed.
    PromotionRefused : the local job trained a version that the gate refused.
    """
    job = f"foretail-{_label(request.name or Path(request.table).stem)}-{secrets.token_hex(3)}"
    if place.local:
        return _train_here(job, _local_command(request, out, place, settings), settings, tell)
    command = _cluster_command(request, job, place)
    client = _cluster_client(place)
    with _said_plainly(place):
        runtime = client.get_runtime(place.runtime)
        nodes = place.nodes or runtime.trainer.num_nodes
        _submit(client, job, command, runtime, nodes)
    with _said_plainly(place, job):
        status = _wait(client, job) if wait else client.get_job(job).status
    log = _log(client, job) if wait else []
    _conclude(job, status, log, f"kubectl describe trainjob {job}", tell)
    return {
        "job": job,
        "status": status,
        "nodes": nodes,
        "runtime": place.runtime,
        "namespace": client.backend.namespace,
        "command": shlex.join(["foretail", "train", *command]),
    }


def _cluster_command(request: Request, job: str, place: Place) -> list[str]:
    """Arguments of `foretail train` on a node."""
    for option, value in (("TABLE", request.table), ("--future", request.future), ("--spec", request.spec)):
        _readable_there(option, value)
    _trains_on_nodes(request.models)
    there = replace(request, data=None)  # the runtime says where layouts lie: FORETAIL_DATA
    words = shlex.split(command_of(there, "train"))[2:]
    return [*words, *_ranks(place), "--out", f"{WORK_FOLDER}/{job}"]


def _readable_there(option: str, value: str | None) -> None:
    """Refuse a path that only this machine has."""
    if value is None or value.startswith(f"{DATA_FOLDER}/") or (urlsplit(value).scheme not in ("", "file")):
        return
    if option == "TABLE" and "/" not in value and not Path(value).suffix and not Path(value).exists():
        return  # a layout's name
    raise UsageError(
        f"{option} is a file of this machine, and the nodes of a cluster cannot read it.\n  where: {value}\n"
        f"  fix:   put it on object storage (s3://…), or on the volume that the nodes see as {DATA_FOLDER}/…"
    )


def _trains_on_nodes(models: tuple[str, ...]) -> None:
    """Refuse what a node would refuse, before a cluster starts any."""
    if len(models) != 1 or models[0].partition("[")[0] != _FAMILY:
        raise UsageError(
            f"only the neural family trains on a cluster.\n  where: --models {','.join(models)}\n"
            "  fix:   --models neural; others train here, or with --on kubeflow-local"
        )


def _ranks(place: Place) -> list[str]:
    return [] if place.processes is None else ["--nproc", str(place.processes)]


def _local_command(request: Request, out: Path, place: Place, settings: Settings) -> list[str]:
    """The whole command for a process of this machine; it runs in another folder, so paths are absolute."""
    here = replace(
        request,
        table=_absolute(request.table),
        future=request.future and _absolute(request.future),
        spec=request.spec and _absolute(request.spec),
        data=settings.data and settings.data.absolute(),
    )
    words = shlex.split(command_of(here, "train"))[1:]
    program = "from foretail.cli.main import main; main()"
    return [sys.executable, "-c", program, *words, *_ranks(place), "--out", str(out.absolute())]


def _absolute(text: str) -> str:
    return str(Path(text).absolute()) if Path(text).exists() else text


def _label(text: str) -> str:
    """A text as a Kubernetes name may hold it: lower case, digits, dashes, 30 signs at most."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:30].strip("-") or "job"


def _cluster_client(place: Place) -> TrainerClient:
    """A client of the cluster that the Kubernetes configuration names, after a look whether anything answers there."""
    try:
        from kubeflow.trainer import KubernetesBackendConfig, TrainerClient
        from kubernetes import client as kubernetes_client
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "kubeflow", "kubeflow") from error

    configuration = kubernetes_client.Configuration()
    with _said_plainly(place):
        _read_configuration(configuration)
        if not configuration.proxy:
            _answers(configuration.host)
        return TrainerClient(KubernetesBackendConfig(namespace=place.namespace, client_configuration=configuration))


def _read_configuration(configuration: Any) -> None:
    from kubeflow.common.utils import is_running_in_k8s
    from kubernetes import config

    if is_running_in_k8s():
        config.load_incluster_config(client_configuration=configuration)
    else:
        config.load_kube_config(client_configuration=configuration)


def _answers(address: str) -> None:
    """Open a connection and close it: the SDK itself would wait minutes for a host that says nothing."""
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    socket.create_connection((parts.hostname or "", port), timeout=_CONNECT_S).close()


@contextmanager
def _said_plainly(place: Place, job: str = "") -> Iterator[None]:
    """Turn what the SDK and the Kubernetes client raise into a message that says what to do.

    Parameters
    ----------
    job : the TrainJob, once it is submitted: it may go on whatever happens here.
    """
    from kubernetes.client import ApiException
    from kubernetes.config import ConfigException

    try:
        yield
    except ConfigException as error:
        raise ServiceError(
            f"no Kubernetes cluster is configured: {error}\n  where: {os.environ.get('KUBECONFIG', '~/.kube/config')}\n"
            "  fix:   set KUBECONFIG; or --on kubeflow-local; or leave --on out to train here"
        ) from error
    except (OSError, RuntimeError, ApiException) as error:
        cause = error.__cause__ or error
        if job:
            raise ServiceError(
                f"TrainJob {job} is lost from sight: {error}: {_reason(cause)}\n  where: the Kubernetes context\n"
                f"  fix:   it may be running still: kubectl get trainjob {job}"
            ) from error
        if isinstance(cause, ApiException) and cause.status == 404:
            raise ServiceError(
                f"{error}\n  where: runtime {place.runtime!r}\n"
                "  fix:   kubectl apply -k deploy/kubernetes/bases/training; kubectl get clustertrainingruntimes"
            ) from error
        raise ServiceError(
            f"the cluster does not do it: {error}: {_reason(cause)}\n  where: the current Kubernetes context\n"
            "  fix:   kubectl get trainjobs says whether it answers and whether Kubeflow Trainer is installed"
        ) from error


def _reason(error: BaseException) -> str:
    """What the server said, or the first line of another error."""
    body = getattr(error, "body", None)
    if body:
        try:
            return f"{error.status} {json.loads(body)['message']}"  # type: ignore[attr-defined]
        except (ValueError, KeyError, TypeError):
            return f"{error.status} {error.reason}"  # type: ignore[attr-defined]
    return (str(error).splitlines() or [type(error).__name__])[0]


def _submit(client: TrainerClient, job: str, arguments: list[str], runtime: Any, nodes: int) -> None:
    """Make the TrainJob: the image and command of the runtime, the arguments of this run."""
    from kubeflow.trainer import CustomTrainerContainer
    from kubeflow.trainer.options import Labels, Name, TrainerArgs

    client.train(
        runtime=runtime,
        trainer=CustomTrainerContainer(image=runtime.trainer.image, num_nodes=nodes),
        options=[Name(job), Labels({"app.kubernetes.io/part-of": "foretail"}), TrainerArgs(arguments)],
    )


def _wait(client: TrainerClient, job: str) -> str:
    ended = client.wait_for_job_status(job, status={"Complete", "Failed"}, timeout=_LONGEST_S, polling_interval=_POLL_S)
    return str(ended.status)


def _log(client: TrainerClient, job: str) -> list[str]:
    """The log of node 0, or why it cannot be read: how the job ended is known without it."""
    try:
        return list(client.get_job_logs(job))
    except RuntimeError as error:
        return [f"its log cannot be read: {error}: {_reason(error.__cause__ or error)}"]


def _train_here(job: str, command: list[str], settings: Settings, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run a command as a job of the SDK's local backend, and wait for its end."""
    try:
        from kubeflow.trainer import CustomTrainer, LocalProcessBackendConfig, TrainerClient
        from kubeflow.trainer.options import Name
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "kubeflow", "kubeflow") from error

    client = TrainerClient(LocalProcessBackendConfig())
    runtime = client.get_runtime(_LOCAL_RUNTIME)
    runtime.trainer.framework = "python"  # with "torch" the job would begin with torchrun, which foretail starts itself
    trainer = CustomTrainer(func=_run_command, func_args={"command": command}, env=_environment(settings))
    try:
        client.train(runtime=runtime, trainer=trainer, options=[Name(job)])
    except ValueError as error:  # no python on the PATH
        raise ServiceError(f"the local job did not start: {error}\n  where: PATH\n  fix:   put python on it") from error
    status = _wait(client, job)
    log = list(client.get_job_logs(job))
    for left in Path(tempfile.gettempdir()).glob(f"{job}*"):  # the SDK clears its folder only after success
        shutil.rmtree(left)
    shown = shlex.join(["foretail", *command[3:]])
    _conclude(job, status, log, f"the same without Kubeflow is {shown}", tell)
    return {
        "job": job,
        "status": status,
        "nodes": 1,
        "runtime": "local process",
        "namespace": None,
        "command": shown,
    }


def _environment(settings: Settings) -> dict[str, str]:
    """The variables of the local job: the SDK gives it nothing of its own accord."""
    told = {
        "FORETAIL_HOME": str(settings.home.absolute()),
        "FORETAIL_TRACKING_URI": settings.tracking_uri,
        "FORETAIL_WAREHOUSE": settings.warehouse,
        "FORETAIL_WORKERS": str(settings.workers),
        "FORETAIL_LOG_FORMAT": settings.log_format,
    }
    return {**os.environ, **told}


def _run_command(params=None, **named):  # type: ignore[no-untyped-def]
    """What the local job runs. The SDK copies the text of this function, so it imports what it needs itself; and it
    hands over the arguments as one dictionary, where a cluster's backend would name them.
    """
    import subprocess
    import sys

    command = {**(params or {}), **named}["command"]
    sys.exit(subprocess.run(command, check=False).returncode)


def _conclude(job: str, status: str, log: list[str], fix: str, tell: Callable[[str], None]) -> None:
    """Tell the log; a job that failed is an error that ends with the end of it."""
    is_failed = status == "Failed"
    for line in log[:-_SHOWN_LINES] if is_failed else log:
        tell(line)
    if not is_failed:
        return
    codes = [int(code) for line in log for code in _EXIT.findall(line)]
    tail = "\n    ".join(log[-_SHOWN_LINES:])
    message = f"TrainJob {job} failed.\n  where: the end of its log\n    {tail}\n  fix:   {fix}"
    raise PromotionRefused(message) if codes[-1:] == [_REFUSED] else ServiceError(message)
