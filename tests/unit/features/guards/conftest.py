"""One small chain for all tests of the guards."""

from __future__ import annotations

import pytest
from guard_chain import Chain, make_chain


@pytest.fixture(scope="session")
def chain() -> Chain:
    return make_chain()
