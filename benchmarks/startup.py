"""How long a command line user waits before anything happens: `foretail --help` and `import foretail`."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from benchmarks.table import Measure, publish

_RUNS = 7
_HELP = ["-c", "from foretail.cli.main import main; main(['--help'])"]
_IMPORT = ["-c", "import foretail"]
_NOTHING = ["-c", "pass"]


def main() -> None:
    """Measure both beside a Python that does nothing."""
    nothing = _seconds(_NOTHING)
    publish(
        "startup",
        [
            Measure("foretail --help", _seconds(_HELP), "s", "python -c pass", nothing, at_most=0.6),
            Measure("import foretail", _seconds(_IMPORT), "s", "python -c pass", nothing, at_most=0.3),
        ],
    )


def _seconds(arguments: list[str]) -> float:
    """Median wall time of a fresh interpreter, its own start included."""
    return median(_once(arguments) for _ in range(_RUNS))


def _once(arguments: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
