"""Joint samples: whole futures of all series at once, each day of which has the calibrated quantiles.

A sample is drawn from the correlation of normal scores (`foretail.models.dependence`) and read off the quantiles
(`foretail.models.marginals`), so totals of a sample over days and series are draws of the total. Draws depend on the
seed and the place of a series alone: chunks of series give what all of them at once would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from foretail.models.dependence import EVERY, OWN, Dependence
from foretail.models.marginals import Marginals

__all__ = ["Sampler", "group_codes", "sample_paths"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_BLOCK = 64  # series drawn together: their samples fit a processor's cache


def sample_paths(
    quantiles: npt.NDArray[np.floating],
    levels: Sequence[float],
    dependence: Dependence,
    n_samples: int = 200,
    seed: int = 7,
    *,
    groups: Mapping[str, IntArray] | None = None,
    first: int = 0,
    non_negative: bool = True,
) -> Float32Array:
    """Joint samples of N series over H steps.

    Parameters
    ----------
    quantiles : ``[N, H, Q]`` calibrated, ascending. levels : the Q levels, ascending.
    n_samples : S. seed : the same one gives the same samples.
    groups : codes ``[N]`` by column, of the columns that ``dependence`` shares; what is not given is a series' own.
    first : place of the first of these series among all that are sampled, where they are only a chunk.
    non_negative : whether a cell whose lowest quantile is not below 0 never falls below 0.

    Returns
    -------
    float32 ``[N, H, S]``; sample s of every series belongs to the same future.
    """
    sampler = Sampler(dependence, quantiles.shape[1], n_samples, seed, groups)
    return sampler.paths(quantiles, levels, first=first, non_negative=non_negative)


def group_codes(series: pl.DataFrame, columns: Sequence[str]) -> dict[str, IntArray]:
    """Codes ``[N]`` of the series by column, of the columns that are there; a missing value is a group too."""
    return {
        name: (series[name].cast(pl.String).fill_null("").rank("dense").to_numpy().astype(np.int64) - 1)
        for name in columns
        if name in series.columns
    }


class Sampler:
    """Draws chunk by chunk, with what all series share drawn once.

    Parameters
    ----------
    dependence : how errors go together. h : H steps. n_samples : S. seed : of all draws.
    groups : codes ``[N]`` by column, of **all** series; see `sample_paths`.
    """

    def __init__(
        self,
        dependence: Dependence,
        h: int,
        n_samples: int,
        seed: int,
        groups: Mapping[str, IntArray] | None = None,
    ):
        self._h, self._n_samples, self._seed = h, n_samples, seed
        self._groups = {name: codes for name, codes in (groups or {}).items() if name in dependence.columns}
        absent = [name for name in dependence.columns if name not in self._groups]
        own = sum((dependence.covariance(name, h) for name in absent), dependence.covariance(OWN, h))
        self._own_root = _root(own)
        common = _root(dependence.covariance(EVERY, h))
        self._common = None if common is None else self._factor(common, 1, stream=1)[0]
        self._shared = {}
        for i, (name, codes) in enumerate(self._groups.items()):
            root = _root(dependence.covariance(name, h))
            if root is not None:
                self._shared[name] = self._factor(root, int(codes.max(initial=0)) + 1, stream=2 + i)

    def paths(
        self,
        quantiles: npt.NDArray[np.floating],
        levels: Sequence[float],
        *,
        first: int = 0,
        non_negative: bool = True,
    ) -> Float32Array:
        """Samples ``[n, H, S]`` of the n series from place ``first`` on; see `sample_paths`."""
        result = np.empty((len(quantiles), self._h, self._n_samples), dtype=np.float32)
        for low, high, paths in self.blocks(quantiles, levels, first=first, non_negative=non_negative):
            result[low:high] = paths
        return result

    def totals(
        self,
        quantiles: npt.NDArray[np.floating],
        levels: Sequence[float],
        *,
        first: int = 0,
        non_negative: bool = True,
    ) -> FloatArray:
        """Totals over the steps ``[n, S]`` of the n series from place ``first`` on."""
        result = np.empty((len(quantiles), self._n_samples))
        for low, high, paths in self.blocks(quantiles, levels, first=first, non_negative=non_negative):
            result[low:high] = paths.sum(1, dtype=np.float64)
        return result

    def blocks(
        self,
        quantiles: npt.NDArray[np.floating],
        levels: Sequence[float],
        *,
        first: int = 0,
        non_negative: bool = True,
    ) -> Iterator[tuple[int, int, Float32Array]]:
        """Some series at a time: first row of ``quantiles``, the row after the last, samples ``[rows, H, S]``."""
        for low, high, scores in self._scores(first, first + len(quantiles)):
            law = Marginals(quantiles[low - first : high - first], levels, non_negative=non_negative)
            yield low - first, high - first, law.values(scores)

    def _scores(self, first: int, end: int) -> Iterator[tuple[int, int, Float32Array]]:
        """Normal scores ``[n, H, S]`` of the series between two places, block by block."""
        for block in range(first // _BLOCK, -(-end // _BLOCK)):
            low, high = max(first, block * _BLOCK), min(end, (block + 1) * _BLOCK)
            noise = self._noise(_BLOCK, 0, block)[low - block * _BLOCK : high - block * _BLOCK]
            scores = np.matmul(self._own_root, noise) if self._own_root is not None else np.zeros_like(noise)
            if self._common is not None:
                scores += self._common
            for name, drawn in self._shared.items():
                scores += drawn[self._groups[name][low:high]]
            yield low, high, scores

    def _factor(self, root: Float32Array, n: int, stream: int) -> Float32Array:
        """Draws ``[n, H, S]`` of a factor."""
        return np.asarray(np.matmul(root, self._noise(n, stream, 0)), dtype=np.float32)

    def _noise(self, n: int, stream: int, block: int) -> Float32Array:
        rng = np.random.Generator(np.random.SFC64([self._seed, stream, block]))
        return rng.standard_normal((n, self._h, self._n_samples), dtype=np.float32)


def _root(covariance: FloatArray) -> Float32Array | None:
    """A matrix whose square is the covariance; None where that is nothing."""
    if not covariance.any():
        return None
    size, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(size, 0.0)), dtype=np.float32)
