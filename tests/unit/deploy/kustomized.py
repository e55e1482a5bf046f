"""The manifests as `kubectl apply -k` would send them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(folder.name for folder in (KUBERNETES / "overlays").iterdir())


def rendered(folder: Path) -> list[dict[str, Any]]:
    """Every object of a kustomization."""
    kubectl = shutil.which("kubectl")
    if not kubectl:
        pytest.skip("needs kubectl, which builds the overlays")
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))
