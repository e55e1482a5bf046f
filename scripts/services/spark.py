"""The jars with which Spark reads Kafka and writes PostgreSQL, for the line of Spark that is installed."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from scripts.services.jars import POMS, fetch
from scripts.services.process import HOME, ServiceError

__all__ = ["spark_jars"]


def spark_jars(home: Path = HOME) -> list[Path]:
    """Fetch them, once.

    Raises
    ------
    ServiceError : pyspark is missing or of another line than the jars, Maven is missing, or cannot fetch them.
    """
    pom = POMS / "spark" / "pom.xml"
    wanted = re.findall(r"<spark\.version>(.+?)</", pom.read_text(encoding="utf-8"))[0]
    try:
        installed = version("pyspark")
    except PackageNotFoundError as error:
        raise ServiceError("pyspark is not installed", sys.prefix, "pip install 'foretail[spark]'") from error
    line = installed.split(".")[:2]
    if line != wanted.split(".")[:2]:
        fix = f"set spark.version to a version of {'.'.join(line)}"
        raise ServiceError(f"the jars are for Spark {wanted}, installed is {installed}", str(pom), fix)
    return sorted(fetch("spark", home).glob("*.jar"))
