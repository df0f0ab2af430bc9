"""Models of the score that scikit-optimize brings: Gaussian process and forests, behind one small interface.

The only door to skopt, opened when a search first needs a model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ForestSurrogate",
    "GaussianProcess",
    "Surrogate",
    "make_surrogate",
    "negative_log_likelihood",
    "negative_log_prior",
    "quiet",
]

_Array = NDArray[np.float64]

# Length scales start, and in the middle are held near, where points of the unit cube still know of each other: the
# typical distance grows with the root of the dimensions (Hvarfner, Hellsten & Nardi 2024, "Vanilla Bayesian
# optimization performs great in high dimensions"). Log-normal: centre sqrt(2), spread sqrt(3). Each is held near their
# middle: where they are free, thirty trials declare a dimension without effect that has one (Hartmann6, 60 trials,
# 12 seeds: -3.10 free, -3.27 held).
# Noise: centre e^-9, wide; scores are standardised.
_SCALE_CENTRE, _SCALE_SPREAD, _SCALE_APART = np.sqrt(2.0) - 1.0, np.sqrt(3.0), 0.75
_NOISE_CENTRE, _NOISE_SPREAD = -9.0, 3.0
_VARIANCE_SPREAD = 1.0
_JITTER = 1e-10
_SCALE_BOUNDS, _NOISE_BOUNDS, _VARIANCE_BOUNDS = (0.02, 50.0), (1e-8, 1.0), (0.05, 20.0)

# Of a forest: the spread of its trees is the uncertainty, and a leaf is never surer than this.
_TREES, _LEAF_VARIANCE = 100, 1e-6


class Surrogate(Protocol):
    """A model of losses over features; less is better."""

    smooth: bool
    """Whether ever smaller steps find ever better points; a forest is flat between its cuts."""

    state: list[float] | None
    """What a later fit starts from; None before the first. Belongs into checkpoints."""

    def fit(self, features: _Array, losses: _Array, *, tune: bool, rng: np.random.Generator) -> None:
        """Learn from trials; ``tune`` also chooses the hyper-parameters anew."""

    def predict(self, features: _Array) -> tuple[_Array, _Array]:
        """Mean and standard deviation, each (n,)."""

    def believe(self, feature: _Array) -> bool:
        """Take the prediction at a point for a result, as long as the true one is out; False where it cannot."""


def make_surrogate(name: str, state: list[float] | None = None) -> Surrogate:
    """Surrogate by name, ``"gp"``, ``"et"`` or ``"rf"``."""
    return GaussianProcess(state) if name == "gp" else ForestSurrogate(name)


class GaussianProcess:
    """skopt's Gaussian process: Matérn 5/2 with a length scale for each feature, noise estimated.

    Hyper-parameters maximise the posterior under weak priors (see the constants), from where the last fit ended, so
    that a refit costs few steps; without priors fifteen length scales are overfitted to thirty points.
    """

    smooth = True

    def __init__(self, state: list[float] | None = None) -> None:
        self.state = state
        self._model: Any = None
        self._lower: _Array = np.empty((0, 0))
        self._points: _Array = np.empty((0, 0))
        self._weights: _Array = np.empty(0)
        self._targets: _Array = np.empty(0)

    def fit(self, features: _Array, losses: _Array, *, tune: bool, rng: np.random.Generator) -> None:
        """Learn from trials, losses standardised."""
        from skopt.learning import GaussianProcessRegressor

        width = features.shape[1]
        kernel = _kernel(width, self.state)
        starts = [kernel.theta] if self.state is None else [kernel.theta, _kernel(width, None).theta]
        model = GaussianProcessRegressor(
            kernel=kernel, alpha=_JITTER, noise="gaussian",
            optimizer=_posterior_mode(features, losses, starts) if tune or self.state is None else None,
        )  # fmt: skip
        model.fit(features, losses)
        if tune or self.state is None:
            noise = max(float(model.noise_), _NOISE_BOUNDS[0])
            self.state = [*model.kernel_.k1.theta.tolist(), float(np.log(noise))]
        self._model = model
        self._points, self._targets, self._lower = features, losses, model.L_
        self._weights = model.alpha_

    def predict(self, features: _Array) -> tuple[_Array, _Array]:
        """Mean and standard deviation of the noise-free loss."""
        from scipy.linalg import solve_triangular

        cross = self._model.kernel_(features, self._points)
        left = solve_triangular(self._lower, cross.T, lower=True, check_finite=False)
        variance = self._model.kernel_.diag(features) - np.einsum("ij,ij->j", left, left)
        return cross @ self._weights, np.sqrt(np.maximum(variance, 1e-18))

    def believe(self, feature: _Array) -> bool:
        """Add a row with its predicted mean; the Cholesky factor grows by one row."""
        from scipy.linalg import cho_solve, solve_triangular

        row = feature[None]
        mean, _ = self.predict(row)
        kernel, count = self._model.kernel_, len(self._points)
        cross = solve_triangular(self._lower, kernel(self._points, row), lower=True, check_finite=False)[:, 0]
        lower = np.zeros((count + 1, count + 1))
        lower[:count, :count] = self._lower
        lower[count, :count] = cross
        lower[count, count] = np.sqrt(max(kernel.diag(row)[0] + self._model.noise_ - cross @ cross, 1e-10))
        self._points, self._targets = np.vstack([self._points, row]), np.append(self._targets, mean)
        self._lower = lower
        self._weights = cho_solve((lower, True), self._targets, check_finite=False)
        return True


class ForestSurrogate:
    """skopt's extra trees or random forest; the spread of the trees is the uncertainty.

    Parameters
    ----------
    kind
        ``"et"`` or ``"rf"``.
    """

    smooth = False

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.state: list[float] | None = None
        self._model: Any = None

    def fit(self, features: _Array, losses: _Array, *, tune: bool, rng: np.random.Generator) -> None:
        """Grow the forest anew; it has nothing to tune."""
        from skopt.learning import ExtraTreesRegressor, RandomForestRegressor

        forest = ExtraTreesRegressor if self.kind == "et" else RandomForestRegressor
        self._model = forest(
            n_estimators=_TREES, min_samples_leaf=2, min_variance=_LEAF_VARIANCE, n_jobs=1,
            random_state=int(rng.integers(2**31 - 1)),
        )  # fmt: skip
        self._model.fit(features, losses)

    def predict(self, features: _Array) -> tuple[_Array, _Array]:
        """Mean and standard deviation over the trees and inside their leaves (Hutter et al. 2014, section 4.3.2).

        The figures of skopt's ``predict(return_std=True)``, which checks its input anew for each of the trees and
        spends nine tenths of its time on that.
        """
        rows = np.ascontiguousarray(features, dtype=np.float32)
        mean, square = np.zeros(len(rows)), np.zeros(len(rows))
        for estimator in self._model.estimators_:
            tree = estimator.tree_
            leaves = tree.apply(rows)
            value = tree.value[leaves, 0, 0]
            mean += value
            square += np.maximum(tree.impurity[leaves], _LEAF_VARIANCE) + value * value
        count = len(self._model.estimators_)
        mean /= count
        return mean, np.maximum(np.sqrt(np.maximum(square / count - mean * mean, 0.0)), 1e-9)

    def believe(self, feature: _Array) -> bool:
        """Always False: trees cannot take a point without growing anew."""
        return False


def _kernel(width: int, state: list[float] | None) -> Any:
    from skopt.learning.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    scale = float(np.exp(_SCALE_CENTRE) * np.sqrt(width) / 2.0)
    theta = [0.0] + [float(np.log(scale))] * width + [np.log(1e-4)] if state is None else state
    values = np.exp(theta)
    return ConstantKernel(float(values[0]), _VARIANCE_BOUNDS) * Matern(
        length_scale=values[1:-1], length_scale_bounds=_SCALE_BOUNDS, nu=2.5
    ) + WhiteKernel(float(values[-1]), _NOISE_BOUNDS)


def _posterior_mode(features: _Array, losses: _Array, starts: list[_Array]) -> Callable[..., tuple[_Array, float]]:
    # The hook of scikit-learn's fit, with our own function: the library's spends most of its time on Python objects.
    squares = np.ascontiguousarray(((features[:, None] - features[None]) ** 2).transpose(2, 0, 1))

    def loss(theta: _Array) -> tuple[float, _Array]:
        value, gradient = negative_log_likelihood(theta, squares, losses)
        prior, slope = negative_log_prior(theta)
        return value + prior, gradient + slope

    def maximise(negative: Callable[..., Any], initial: _Array, bounds: _Array) -> tuple[_Array, float]:
        from scipy.optimize import minimize

        found = [
            minimize(
                loss, np.clip(start, *bounds.T), jac=True, bounds=[tuple(pair) for pair in bounds.tolist()],
                method="L-BFGS-B", options={"maxiter": 60},
            )
            for start in starts
        ]  # fmt: skip
        best = min(found, key=lambda result: float(result.fun))
        return best.x, float(best.fun)

    return maximise


def negative_log_likelihood(theta: _Array, squares: _Array, losses: _Array) -> tuple[float, _Array]:
    """Of a Gaussian process with a Matérn 5/2 kernel, and its gradient (Rasmussen & Williams 2006, eqs. 2.30, 5.9).

    Parameters
    ----------
    theta
        Logarithms of variance, each length scale, and noise variance.
    squares
        Squared differences of the features, shape (features, n, n).
    losses
        Shape (n,).
    """
    from scipy.linalg.lapack import dpotrf, dpotri

    variance, noise, inverse_squares = np.exp(theta[0]), np.exp(theta[-1]), np.exp(-2.0 * theta[1:-1])
    n = len(losses)
    apart = np.tensordot(inverse_squares, squares, axes=1)
    distance = np.sqrt(5.0 * apart)
    decay = variance * np.exp(-distance)
    kernel = decay * (1.0 + distance + 5.0 / 3.0 * apart)
    covariance = kernel.copy()
    covariance.flat[:: n + 1] += noise + _JITTER
    lower, failed = dpotrf(covariance, lower=1)
    if failed:
        return np.inf, np.zeros_like(theta)
    inverse = dpotri(lower, lower=1)[0]
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    weights = inverse @ losses
    value = 0.5 * losses @ weights + np.log(np.diag(lower)).sum() + 0.5 * n * np.log(2.0 * np.pi)
    outer = inverse - np.outer(weights, weights)
    lengths = np.tensordot(squares, outer * decay * (1.0 + distance), axes=2) * inverse_squares * (5.0 / 3.0)
    gradient = 0.5 * np.concatenate(([np.vdot(outer, kernel)], lengths, [noise * np.trace(outer)]))
    return float(value), gradient


def negative_log_prior(theta: _Array) -> tuple[float, _Array]:
    """Of the hyper-parameters, up to a constant, and its gradient: see the constants above."""
    width = len(theta) - 2
    scales = theta[1:-1]
    middle = scales.mean()
    parts = (theta[0] / _VARIANCE_SPREAD, (theta[-1] - _NOISE_CENTRE) / _NOISE_SPREAD)
    common = (middle - _SCALE_CENTRE - 0.5 * np.log(width)) / _SCALE_SPREAD
    own = (scales - middle) / _SCALE_APART
    value = 0.5 * (parts[0] ** 2 + parts[1] ** 2 + common**2 + own @ own)
    slopes = common / (_SCALE_SPREAD * width) + own / _SCALE_APART
    return float(value), np.concatenate(([parts[0] / _VARIANCE_SPREAD], slopes, [parts[1] / _NOISE_SPREAD]))


@contextmanager
def quiet() -> Iterator[None]:
    """Surroundings in which surrogates work: one thread, and no warnings that nobody can act on."""
    # skopt 0.10.2 on newer libraries: SciPy and scikit-learn deprecate what it calls; kernels report bounds reached,
    # which the priors make harmless. One thread: the matrices are small, and more threads add up in another order.
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types

    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", message="The optimal value found for dimension")
        yield
