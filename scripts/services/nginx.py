"""Nginx on loopback in front of the services, with the configuration that the deployment uses."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from scripts.services.process import ServiceError
from scripts.services.service import Service

__all__ = ["TEMPLATE", "UPSTREAMS", "Nginx"]

TEMPLATE = Path(__file__).resolve().parents[2] / "deploy" / "nginx" / "foretail.conf.template"
UPSTREAMS: Mapping[str, Sequence[str]] = {
    "trainers": ("127.0.0.1:8001",),
    "forecasters": ("127.0.0.1:8002",),
    "ui": ("127.0.0.1:8501",),
}
_VARIABLE = re.compile(r"\$\{(FORETAIL_[A-Z_]+)\}")
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_MAIN = """\
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes 2;
events {{ worker_connections 1024; }}
http {{
{temporary}
    access_log {folder}/access.log;
    include {folder}/foretail.conf;
}}
"""


class Nginx(Service):
    """A reverse proxy whose configuration is ``deploy/nginx/foretail.conf.template``.

    In the template ``${FORETAIL_LISTEN}`` becomes the address it listens on, and ``${FORETAIL_NAME}`` the ``server``
    lines of the upstream ``name``, as the image of Nginx does it with the variables of its environment.

    Parameters
    ----------
    upstreams : addresses by upstream, each with what Nginx may be told of it
        (``{"trainers": ["127.0.0.1:8001 max_fails=1"]}``); `UPSTREAMS` for those left out.
    template : another template.
    dies_with_parent : see `Service`.
    """

    name, program, package, user = "nginx", "nginx", "nginx", "www-data"
    folders: ClassVar = ("/usr/sbin",)  # not on everyone's PATH

    def __init__(
        self,
        upstreams: Mapping[str, Sequence[str]] | None = None,
        *,
        template: Path = TEMPLATE,
        dies_with_parent: bool = False,
    ):
        super().__init__(dies_with_parent=dies_with_parent)
        self._upstreams = {**UPSTREAMS, **(upstreams or {})}
        self._template = template

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {"FORETAIL_NGINX_URL": self.url}

    def start(self) -> None:
        temporary = "".join(f"    {kind}_temp_path {self.folder}/{kind};\n" for kind in _TEMPORARY)
        settings = self.folder / "nginx.conf"
        settings.write_text(_MAIN.format(folder=self.folder, temporary=temporary), encoding="utf-8")
        (self.folder / "foretail.conf").write_text(self._rendered(), encoding="utf-8")
        self._launch([str(self.binary), "-c", str(settings), "-p", str(self.folder)], self._answers)

    def _rendered(self) -> str:
        if not self._template.exists():
            raise ServiceError("there is no configuration for Nginx", str(self._template), "restore it")
        values = {"FORETAIL_LISTEN": f"127.0.0.1:{self.port}"}
        for name, addresses in self._upstreams.items():
            values[f"FORETAIL_{name.upper()}"] = " ".join(f"server {address};" for address in addresses)
        text = self._template.read_text(encoding="utf-8")
        unknown = sorted(set(_VARIABLE.findall(text)) - set(values))
        if unknown:
            raise ServiceError(f"nobody says what {', '.join(unknown)} is", str(self._template), "name that upstream")
        return _VARIABLE.sub(lambda found: values[found[1]], text)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False
