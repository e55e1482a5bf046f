"""Quantile levels and the names of their columns (0.025 <-> q2_5)."""

from __future__ import annotations

from collections.abc import Sequence

from foretail.core.errors import UsageError

__all__ = ["DEFAULT_QUANTILES", "check_quantiles", "quantile_column", "quantile_level"]

DEFAULT_QUANTILES: tuple[float, ...] = (0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975)


def quantile_column(level: float) -> str:
    """Name the column of a quantile level: 0.1 -> ``q10``, 0.975 -> ``q97_5``."""
    return "q" + f"{level * 100:.6f}".rstrip("0").rstrip(".").replace(".", "_")


def quantile_level(column: str) -> float:
    """Read the level back from a column name: ``q97_5`` -> 0.975."""
    return round(float(column[1:].replace("_", ".")) / 100, 8)


def check_quantiles(levels: Sequence[float]) -> tuple[float, ...]:
    """Sort the levels and drop repetitions.

    Raises
    ------
    UsageError : none given, or one that is not strictly between 0 and 1.
    """
    bad = [level for level in levels if not 0 < level < 1]
    if bad or not levels:
        found = ", ".join(map(str, bad)) or "none"
        raise UsageError(
            f"quantiles must lie strictly between 0 and 1.\n  where: {found}\n  fix:   --quantiles 0.1,0.5,0.9"
        )
    return tuple(sorted({round(float(level), 8) for level in levels}))
