"""Tests of the warehouse on SQLite; their cases lie beside them, and the stack's tests use them too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
