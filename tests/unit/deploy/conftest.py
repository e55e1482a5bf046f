"""Every overlay, rendered once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from kustomized import KUBERNETES, OVERLAYS, rendered


@pytest.fixture(scope="session")
def overlays() -> dict[str, list[dict[str, Any]]]:
    """Overlay -> its objects, the namespace among them."""
    namespace = rendered(KUBERNETES / "bases" / "namespace")
    return {name: [*namespace, *rendered(KUBERNETES / "overlays" / name)] for name in OVERLAYS}


@pytest.fixture
def find(overlays):
    """The one object of a kind in an overlay."""

    def one(overlay: str, kind: str) -> dict[str, Any]:
        (found,) = [item for item in overlays[overlay] if item["kind"] == kind]
        return found

    return one
