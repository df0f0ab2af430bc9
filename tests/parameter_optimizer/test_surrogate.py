"""Surrogates: the Gaussian process's own likelihood against scikit-learn's, its rank-one update against a new fit."""

import numpy as np
import pytest
from scipy.optimize import check_grad

from ai_backtrader.parameter_optimizer.surrogate import (
    ForestSurrogate,
    make_surrogate,
    negative_log_likelihood,
    negative_log_prior,
    quiet,
)


@pytest.mark.parametrize("width", [1, 6, 15])
def test_likelihood_and_gradient_are_those_of_scikit_learn(width):
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    rng = np.random.default_rng(width)
    features, losses = rng.random((40, width)), rng.normal(size=40)
    kernel = ConstantKernel() * Matern(length_scale=np.ones(width), nu=2.5) + WhiteKernel()
    theirs = GaussianProcessRegressor(kernel=kernel, alpha=1e-10, optimizer=None).fit(features, losses)
    squares = ((features[:, None] - features[None]) ** 2).transpose(2, 0, 1)
    for _ in range(5):
        theta = rng.normal(-1.0, 1.0, width + 2)
        value, gradient = negative_log_likelihood(theta, squares, losses)
        expected, slope = theirs.log_marginal_likelihood(theta, eval_gradient=True)
        assert -value == pytest.approx(expected, rel=1e-9)
        np.testing.assert_allclose(-gradient, slope, rtol=1e-6, atol=1e-8)


def test_points_that_contradict_each_other_exactly_are_infinitely_unlikely():
    squares = np.zeros((1, 3, 3))
    value, gradient = negative_log_likelihood(np.array([60.0, 0.0, -20.0]), squares, np.array([0.0, 1.0, 2.0]))
    assert value == np.inf
    assert not gradient.any()


def test_the_gradient_of_the_prior_is_its_own():
    rng = np.random.default_rng(0)
    for width in (1, 6, 15):
        theta = rng.normal(size=width + 2)
        error = check_grad(lambda t: negative_log_prior(t)[0], lambda t: negative_log_prior(t)[1], theta)
        assert error < 1e-5


def test_believing_a_point_is_a_fit_with_its_prediction():
    rng = np.random.default_rng(3)
    features, losses = rng.random((25, 3)), rng.normal(size=25)
    with quiet():
        grown = make_surrogate("gp")
        grown.fit(features, losses, tune=True, rng=rng)
        point = rng.random(3)
        mean = grown.predict(point[None])[0]
        fresh = make_surrogate("gp", grown.state)
        fresh.fit(np.vstack([features, point]), np.append(losses, mean), tune=False, rng=rng)
        assert grown.believe(point)
        there = rng.random((50, 3))
        for ours, expected in zip(grown.predict(there), fresh.predict(there), strict=True):
            np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["et", "rf"])
def test_a_forest_predicts_what_scikit_optimize_predicts(kind):
    rng = np.random.default_rng(3)
    features, losses, asked = rng.random((60, 6)), rng.normal(size=60), rng.random((200, 6))
    forest = ForestSurrogate(kind)
    with quiet():
        forest.fit(features, losses, tune=True, rng=rng)
        mean, spread = forest._model.predict(asked, return_std=True)
    ours = forest.predict(asked)
    np.testing.assert_array_equal(ours[0], mean)
    np.testing.assert_array_equal(ours[1], np.maximum(spread, 1e-9))
