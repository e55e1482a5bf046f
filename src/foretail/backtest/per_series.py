"""Accuracy of every series by itself, all series at once; what cannot be computed is NaN, never 0."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["SeriesErrors", "SeriesScores", "covered", "errors_of", "pooled", "scores_of"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SeriesErrors:
    """Sums over the scored cells of each series, ``[N]`` each.

    Attributes
    ----------
    absolute : sum |y - y_hat|. signed : sum (y_hat - y). actual : sum |y|. n : cells scored.
    """

    absolute: FloatArray
    signed: FloatArray
    actual: FloatArray
    n: FloatArray

    @property
    def wape(self) -> FloatArray:
        """``[N]`` absolute / actual; NaN where nothing was sold."""
        return _ratio(self.absolute, self.actual)


@dataclass(frozen=True)
class SeriesScores:
    """Scores ``[N]`` of each series over its windows together.

    Attributes
    ----------
    wape, bias : sums over |y|; NaN where nothing was sold. mase : mean |y - y_hat| over the seasonal scale.
    coverage_80, coverage_95 : share (0-1) of open cells inside. skill : 1 - wape / wape of seasonal naive.
    """

    wape: FloatArray
    bias: FloatArray
    mase: FloatArray
    coverage_80: FloatArray
    coverage_95: FloatArray
    skill: FloatArray

    def to_frame(self) -> pl.DataFrame:
        """One column per score; null where NaN."""
        return pl.DataFrame({item.name: getattr(self, item.name) for item in fields(self)}, nan_to_null=True)


def errors_of(y: FloatArray, y_hat: FloatArray, scored: BoolArray) -> SeriesErrors:
    """Sum the errors of each series.

    Parameters
    ----------
    y, y_hat, scored : ``[N, W, H]``; cells that are not scored may hold anything.
    """
    error = np.where(scored, y_hat - y, 0.0)
    actual = np.where(scored, y, 0.0)
    axes = tuple(range(1, y.ndim))
    return SeriesErrors(
        np.abs(error).sum(axes), error.sum(axes), np.abs(actual).sum(axes), scored.sum(axes).astype(np.float64)
    )


def scores_of(
    errors: SeriesErrors,
    naive: SeriesErrors,
    scale: FloatArray,
    coverage_80: FloatArray,
    coverage_95: FloatArray,
) -> SeriesScores:
    """Scores from sums.

    Parameters
    ----------
    naive : seasonal naive on the same cells. scale : ``[N]`` mean absolute seasonal difference, see
        `foretail.backtest.metrics.scales`.
    """
    return SeriesScores(
        wape=errors.wape,
        bias=_ratio(errors.signed, errors.actual),
        mase=_ratio(_ratio(errors.absolute, errors.n), scale),
        coverage_80=coverage_80,
        coverage_95=coverage_95,
        skill=1 - _ratio(errors.absolute, naive.absolute),
    )


def covered(y: FloatArray, low: FloatArray, high: FloatArray, scored: BoolArray) -> FloatArray:
    """Share ``[N]`` (0-1) of the scored cells ``[N, W, H]`` inside [low, high]; NaN where none is scored."""
    axes = tuple(range(1, y.ndim))
    inside = scored & (y >= low) & (y <= high)
    return _ratio(inside.sum(axes).astype(np.float64), scored.sum(axes).astype(np.float64))


def pooled(values: FloatArray, weight: FloatArray) -> float:
    """Mean of finite values ``[N]``, weighted; NaN without any."""
    told = np.isfinite(values) & (weight > 0)
    return float((values[told] * weight[told]).sum() / weight[told].sum()) if told.any() else float("nan")


def _ratio(top: FloatArray, bottom: FloatArray) -> FloatArray:
    ratio: FloatArray = np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), np.nan)
    return ratio
