"""An API server on loopback that keeps the objects of Kubeflow Trainer, and refuses what their own schemas refuse.

It runs nothing: a TrainJob stays as it was made until the test says how it ended.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from manifest_schemas import faults

GROUP = "/apis/trainer.kubeflow.org/v1alpha1"


class Cluster:
    """Objects by their path; ``with Cluster(runtime) as cluster``."""

    def __init__(self, runtime: dict[str, Any]):
        self.objects = {f"{GROUP}/clustertrainingruntimes/{runtime['metadata']['name']}": runtime}
        self.ends = ""  # how jobs end: Complete, Failed, or not at all
        self.log = ""
        self.forgets = False  # jobs are gone as soon as they are made
        self.refused: list[str] = []
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                cluster.answer(self)

            def do_POST(self) -> None:
                manifest = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                cluster.take(self, manifest)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> Cluster:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def jobs(self) -> list[dict[str, Any]]:
        """The TrainJobs made so far."""
        return [item for path, item in self.objects.items() if "/trainjobs/" in path]

    def take(self, call: BaseHTTPRequestHandler, manifest: dict[str, Any]) -> None:
        """Make an object, if its schema allows it."""
        wrong = faults(manifest)
        if wrong:
            self.refused += wrong
            _send(call, 422, {"kind": "Status", "reason": "Invalid", "message": "; ".join(wrong)})
            return
        namespace = call.path.split("/namespaces/")[1].split("/")[0]
        metadata = {**manifest["metadata"], "namespace": namespace, "creationTimestamp": "2026-01-01T00:00:00Z"}
        made = {**manifest, "metadata": metadata}
        if not self.forgets:
            self.objects[f"{call.path}/{metadata['name']}"] = made
        _send(call, 201, made)

    def answer(self, call: BaseHTTPRequestHandler) -> None:
        """Give an object, the pods of a job, or the log of one."""
        path = call.path.split("?")[0]
        if path.endswith("/log"):
            _send(call, 200 if self.log else 403, self.log or {"kind": "Status", "message": "logs are not for you"})
        elif path.endswith("/pods"):
            _send(call, 200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self._pods()})
        elif path in self.objects:
            _send(call, 200, self._now(self.objects[path]))
        else:
            _send(call, 404, {"kind": "Status", "reason": "NotFound", "message": f"{path} not found"})

    def _now(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["kind"] != "TrainJob" or not self.ends:
            return item
        condition = {
            "type": self.ends,
            "status": "True",
            "reason": "Over",
            "message": "",
            "lastTransitionTime": "2026-01-01T01:00:00Z",
        }
        return {**item, "status": {"conditions": [condition]}}

    def _pods(self) -> list[dict[str, Any]]:
        phase = {"Complete": "Succeeded", "Failed": "Failed"}.get(self.ends)
        labels = {"jobset.sigs.k8s.io/replicatedjob-name": "node", "batch.kubernetes.io/job-completion-index": "0"}
        pod = {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": "job-node-0-0-abcde", "labels": labels, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [{"name": "node", "image": "foretail"}]},
            "status": {"phase": phase},
        }
        return [pod] if phase else []


def context(path: Path, port: int) -> str:
    """Write a Kubernetes configuration for a server on loopback; gives its path."""
    parts = {
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": "forecasts"}}],
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "me", "user": {}}],
    }
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "here", **parts}))
    return str(path)


def _send(call: BaseHTTPRequestHandler, status: int, body: dict[str, Any] | str) -> None:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    call.send_response(status)
    call.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
    call.send_header("Content-Length", str(len(content)))
    call.end_headers()
    call.wfile.write(content)
