"""Exact least squares with a ridge on some columns and a lasso on the others, for many series at once.

For a fixed noise level the posterior of a Prophet model is such a problem. An active set with signs solves it exactly:
only changepoints that are not zero enter the system, which for sales are a handful of 25, so that a step is one batched
solve. The noise level has a closed form given the coefficients; the two alternate with the active set kept.

Shapes: B series, p columns of which the first ``pf`` have a ridge (free) and the S = p - pf others the lasso.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Prior", "State", "apply", "combine", "log_posterior", "maximise", "noise_variance"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_MOST_STEPS = 400  # of the active set; about ten are needed
_MOST_ROUNDS = 60  # of coefficients and noise; about five are needed
_LEAST_VARIANCE = 1e-10  # of the scaled values: an exact fit has no noise, and its system no inverse
_LASSO_SLACK = 1e-9  # relative: a changepoint on the bound is not taken in and out for ever
_RATE = (-0.5, 0.9)  # believable rates of contraction of the noise level


@dataclass(frozen=True)
class Prior:
    """Precisions of the priors.

    Attributes
    ----------
    ridge : float64 ``[pf]`` inverse prior variances of slope, level and regressors. tau : scale of the Laplace prior of
        the changepoints.
    """

    ridge: FloatArray
    tau: float

    @property
    def n_free(self) -> int:
        return len(self.ridge)


@dataclass
class State:
    """Where the search stands; changed in place.

    Attributes
    ----------
    w : ``[B, p]`` coefficients. active : bool ``[B, S]``, sign : ``[B, S]`` -1, 0, 1 of the changepoints in use.
    v : ``[B]`` variance of the noise.
    """

    w: FloatArray
    active: BoolArray
    sign: FloatArray
    v: FloatArray

    def take(self, rows: IntArray) -> State:
        """A copy of some rows."""
        return State(self.w[rows], self.active[rows], self.sign[rows], self.v[rows])

    def put(self, rows: IntArray, other: State) -> None:
        """Write rows back."""
        self.w[rows], self.active[rows], self.sign[rows], self.v[rows] = other.w, other.active, other.sign, other.v


def apply(matrix: FloatArray, vector: FloatArray) -> FloatArray:
    """``[..., m, n] x [..., n] -> [..., m]``, series by series, so that a series gets the same bits in any company."""
    product: FloatArray = (matrix @ vector[..., None])[..., 0]
    return product


def combine(weights: FloatArray, columns: FloatArray) -> FloatArray:
    """``[B, p] x [B, p, T] -> [B, T]``, series by series."""
    total: FloatArray = (weights[:, None] @ columns)[:, 0]
    return total


def noise_variance(rss: FloatArray, n: FloatArray) -> FloatArray:
    """The v that maximises ``-n/2 log v - rss/2v - 2v``: half-normal prior of scale 0.5 on its root.

    Parameters
    ----------
    rss : ``[B]`` residual sum of squares. n : ``[B]`` observations.
    """
    v: FloatArray = np.maximum((np.sqrt(n * n + 16 * rss) - n) / 8, _LEAST_VARIANCE)
    return v


def log_posterior(rss: FloatArray, n: FloatArray, w: FloatArray, v: FloatArray, prior: Prior) -> FloatArray:
    """Log posterior ``[B]`` as Stan maximises it, constants dropped."""
    free, lasso = w[:, : prior.n_free], w[:, prior.n_free :]
    fit = -0.5 * n * np.log(v) - rss / (2 * v) - 2 * v
    value: FloatArray = fit - 0.5 * (free**2 * prior.ridge).sum(1) - np.abs(lasso).sum(1) / prior.tau
    return value


def maximise(
    gram: FloatArray,
    moment: FloatArray,
    square: FloatArray,
    n: FloatArray,
    prior: Prior,
    state: State,
    tolerance: float,
) -> None:
    """Joint maximum over coefficients and noise of a linear model, from its sufficient statistics; moves ``state``.

    Parameters
    ----------
    gram : ``[B, p, p]`` Z'Z. moment : ``[B, p]`` Z'y. square : ``[B]`` y'y. n : ``[B]`` observations.
    tolerance : of log v, where the alternation stops.
    """
    live = np.arange(len(moment))
    before: tuple[FloatArray, FloatArray] | None = None
    for _ in range(_MOST_ROUNDS):
        part, G, C = state.take(live), gram[live], moment[live]
        _solve_lasso(G, C, prior, part)
        rss = np.maximum(square[live] + (part.w * (apply(G, part.w) - 2 * C)).sum(1), 0.0)
        old, new = np.log(part.v), np.log(noise_variance(rss, n[live]))
        done = np.abs(new - old) <= tolerance
        part.v = np.exp(np.where(done, new, _extrapolated(old, new, before)))
        state.put(live, part)
        live, before = live[~done], (old[~done], new[~done])
        if not len(live):
            break


def _extrapolated(old: FloatArray, new: FloatArray, before: tuple[FloatArray, FloatArray] | None) -> FloatArray:
    """Aitken's step: old -> new is a contraction, whose rate two pairs tell."""
    if before is None:
        return new
    step = old - before[0]
    is_moving = np.abs(step) > 1e-14
    rate = np.where(is_moving, (new - before[1]) / np.where(is_moving, step, 1.0), 0.0)
    ahead: FloatArray = old + (new - old) / (1 - np.clip(rate, *_RATE))
    return ahead


def _solve_lasso(G: FloatArray, C: FloatArray, prior: Prior, state: State) -> None:
    """Minimise ``w'(G + v ridge)w / 2 - C'w + v/tau |w lasso|`` from a warm start; moves w, active and sign.

    Go to the minimum of the current face (fixed signs); at the first change of sign on the way drop that changepoint;
    at the minimum take in the one that violates optimality most, until none does.
    """
    todo = np.arange(len(C))
    is_new_face = np.ones(len(C), dtype=np.bool_)
    bound = state.v / prior.tau
    for _ in range(_MOST_STEPS):
        entered = _take_in(G, C, prior.n_free, state, bound, todo[~is_new_face[todo]])
        todo = np.union1d(todo[is_new_face[todo]], entered)
        if not len(todo):
            break
        target = _face_minimum(G, C, prior, state, bound, todo)
        is_new_face[todo] = _move(state, target, prior.n_free, todo)


def _take_in(G: FloatArray, C: FloatArray, pf: int, state: State, bound: FloatArray, rows: IntArray) -> IntArray:
    """Let the changepoint that violates optimality most enter; gives the rows where there was one."""
    if not len(rows) or G.shape[1] == pf:
        return rows[:0]
    slope = apply(G[rows, pf:], state.w[rows]) - C[rows, pf:]
    excess = np.where(state.active[rows], -1.0, np.abs(slope) - bound[rows, None] * (1 + _LASSO_SLACK))
    best = excess.argmax(1)
    enters = excess[np.arange(len(rows)), best] > 0
    chosen: IntArray = rows[enters]
    column = best[enters]
    state.active[chosen, column] = True
    state.sign[chosen, column] = -np.sign(slope[enters, column])
    return chosen


def _face_minimum(
    G: FloatArray, C: FloatArray, prior: Prior, state: State, bound: FloatArray, rows: IntArray
) -> FloatArray:
    """Minimum ``[rows, p]`` with the signs as they are; series with equally many changepoints are solved together."""
    target = np.zeros((len(rows), C.shape[1]))
    count = state.active[rows].sum(1)
    for n_active in np.unique(count):
        position = np.flatnonzero(count == n_active)
        target[position] = _solve_face(G, C, prior, state, bound, rows[position], int(n_active))
    return target


def _solve_face(
    G: FloatArray, C: FloatArray, prior: Prior, state: State, bound: FloatArray, rows: IntArray, n_active: int
) -> FloatArray:
    pf = prior.n_free
    used = pf + np.argsort(~state.active[rows], axis=1, kind="stable")[:, :n_active]
    columns = np.concatenate([np.broadcast_to(np.arange(pf), (len(rows), pf)), used], axis=1)
    system = G[rows[:, None, None], columns[:, :, None], columns[:, None]]
    free = np.arange(pf)
    system[:, free, free] += state.v[rows, None] * prior.ridge
    right = np.take_along_axis(C[rows], columns, 1)
    right[:, pf:] -= bound[rows, None] * np.take_along_axis(state.sign[rows], used - pf, 1)
    found = np.zeros((len(rows), C.shape[1]))
    np.put_along_axis(found, columns, np.linalg.solve(system, right[..., None])[..., 0], 1)
    return found


def _move(state: State, target: FloatArray, pf: int, rows: IntArray) -> BoolArray:
    """Move towards the target, as far as no changepoint changes its sign; gives where one did (and was dropped)."""
    if target.shape[1] == pf:
        state.w[rows] = target
        return np.zeros(len(rows), dtype=np.bool_)
    here, there, sign = state.w[rows, pf:], target[:, pf:], state.sign[rows]
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = np.where(here * sign > 0, here / (here - there), 0.0)
    way = np.where((sign != 0) & (there * sign < 0), crossing, np.inf)
    first = way.argmin(1)
    length = way[np.arange(len(rows)), first]
    state.w[rows] += np.minimum(length, 1.0)[:, None] * (target - state.w[rows])
    dropped: BoolArray = length < 1
    row, column = rows[dropped], first[dropped]
    state.w[row, pf + column] = 0.0
    state.active[row, column] = False
    state.sign[row, column] = 0.0
    return dropped
