"""One network, three ways to compute it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from ai_backtrader.errors import AIBacktraderError, SettingsError
from ai_backtrader.rl.dqn import DQN
from ai_backtrader.rl.network_kernels import backward_batch, forward_batch, forward_one
from ai_backtrader.rl.networks import forward, gradient, initial_parameters, n_parameters
from ai_backtrader.rl.optimizers import adam, adam_compiled, clip_norm, clip_norm_compiled
from ai_backtrader.rl.settings import DQNSettings

NETWORKS = [(18, 128, 64, 32, 3), (35, 128, 64, 32, 11), (5, 7, 2), (3, 1)]


def compiled_pass(sizes: tuple[int, ...], parameters: np.ndarray, states: np.ndarray, slope: np.ndarray) -> tuple:
    batch, shape = len(states), np.array(sizes)
    buffer, slopes = np.zeros((2, batch * sum(sizes)), parameters.dtype)
    buffer[: states.size] = states.ravel()
    forward_batch(shape, parameters, buffer, batch)
    slopes[-slope.size :] = slope.ravel()
    result = np.empty_like(parameters)
    turned = np.empty(max(a * b for a, b in pairwise(sizes)), parameters.dtype)
    backward_batch(shape, parameters, buffer, slopes, turned, result, batch)
    return buffer[-slope.size :].reshape(slope.shape), result


@pytest.mark.parametrize("sizes", NETWORKS)
@pytest.mark.parametrize("batch", [1, 64, 67])
def test_values_and_gradients_of_numpy_numba_and_torch_are_one(sizes: tuple[int, ...], batch: int) -> None:
    torch = pytest.importorskip("torch")
    from ai_backtrader.rl.torch_backend import export_parameters, module_of

    rng = np.random.default_rng(1)
    parameters = initial_parameters(sizes, rng, "float64")
    states, slope = rng.normal(size=(batch, sizes[0])), rng.normal(size=(batch, sizes[-1]))
    activations = forward(sizes, parameters, states)
    reference = gradient(sizes, parameters, activations, slope)

    values, ours = compiled_pass(sizes, parameters, states, slope)
    np.testing.assert_allclose(values, activations[-1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-12)

    module = module_of(sizes, parameters)
    outputs = module(torch.from_numpy(states))
    np.testing.assert_allclose(outputs.detach().numpy(), activations[-1], rtol=0, atol=1e-12)
    (outputs * torch.from_numpy(slope)).sum().backward()
    theirs = np.concatenate([piece.grad.numpy().T.ravel() for piece in module.parameters()])
    assert np.abs(theirs - reference).max() <= 1e-10
    np.testing.assert_array_equal(export_parameters(module), parameters)


def test_gradient_is_the_slope_of_the_loss() -> None:
    # Central differences know nothing of backpropagation.
    sizes, rng = (4, 6, 5, 3), np.random.default_rng(2)
    parameters = initial_parameters(sizes, rng, "float64")
    states, slope = rng.normal(size=(9, 4)), rng.normal(size=(9, 3))
    ours = gradient(sizes, parameters, forward(sizes, parameters, states), slope)
    for place in range(n_parameters(sizes)):
        sides = []
        for shift in (1e-6, -1e-6):
            moved = parameters.copy()
            moved[place] += shift
            sides.append(float((forward(sizes, moved, states)[-1] * slope).sum()))
        assert ours[place] == pytest.approx((sides[0] - sides[1]) / 2e-6, abs=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_state_has_the_values_it_has_in_a_batch(dtype: str) -> None:
    sizes, rng = (35, 128, 64, 32, 11), np.random.default_rng(3)
    parameters = initial_parameters(sizes, rng, dtype)
    states = rng.normal(size=(6, 35)).astype(dtype)
    batch, _ = compiled_pass(sizes, parameters, states, np.zeros((6, 11), dtype))
    for state, values in zip(states, batch, strict=True):
        alone = forward_one(np.array(sizes), parameters, state, np.zeros(sum(sizes), dtype))
        np.testing.assert_array_equal(alone, values)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_no_number_comes_out_as_no_number(dtype: str) -> None:
    # The compiled ReLU must not turn it into a zero: a training that diverges would go unnoticed.
    sizes = (4, 16, 8, 2)
    parameters = initial_parameters(sizes, np.random.default_rng(3), dtype)
    states = np.full((3, 4), np.nan, dtype)
    assert np.isnan(forward(sizes, parameters, states)[-1]).all()
    assert np.isnan(compiled_pass(sizes, parameters, states, np.zeros((3, 2), dtype))[0]).all()
    assert np.isnan(forward_one(np.array(sizes), parameters, states[0], np.zeros(sum(sizes), dtype))).all()


def test_adam_is_torchs() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    start, gradients = rng.normal(size=50), rng.normal(size=(30, 50))
    tensor = torch.from_numpy(start.copy()).requires_grad_()
    optimizer = torch.optim.Adam([tensor], lr=0.01, betas=(0.8, 0.95), eps=1e-6)
    ours, compiled = start.copy(), start.copy()
    moments = np.zeros((4, 50))
    for number, slope in enumerate(gradients, 1):
        tensor.grad = torch.from_numpy(slope)
        optimizer.step()
        adam(ours, slope, moments[0], moments[1], step=number, rate=0.01, beta1=0.8, beta2=0.95, epsilon=1e-6)
        adam_compiled(compiled, slope, moments[2], moments[3], number, 0.01, 0.8, 0.95, 1e-6)
    np.testing.assert_allclose(ours, tensor.detach().numpy(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(compiled, ours, rtol=0, atol=1e-14)


def test_clipping_shortens_long_gradients_and_leaves_short_ones() -> None:
    for clip in (clip_norm, clip_norm_compiled):
        slope = np.arange(1.0, 12.0)
        norm = float(np.linalg.norm(slope))
        untouched = slope.copy()
        assert clip(untouched, 2 * norm) == pytest.approx(norm)
        np.testing.assert_array_equal(untouched, slope)
        assert clip(slope, 1.0) == pytest.approx(norm)
        assert np.linalg.norm(slope) == pytest.approx(1.0)


def fed(backend: str, dtype: str, n_features: int, n_actions: int, *, prioritised: bool) -> DQN:
    settings = DQNSettings(dtype=dtype, prioritised=prioritised, target_every=10, buffer_size=500)
    dqn = DQN(n_features, n_actions, settings, rng=np.random.default_rng(5), backend=backend)
    rng = np.random.default_rng(6)
    for _ in range(500):
        state, following = rng.normal(size=(2, n_features))
        mask = rng.random(n_actions) < 0.5
        dqn.remember(state, int(rng.integers(n_actions)), rng.normal(), following, rng.random() < 0.1, next_mask=mask)
    return dqn


@pytest.mark.parametrize(("n_features", "n_actions", "prioritised"), [(18, 3, False), (35, 11, True)])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 5e-3)])
def test_the_same_weights_give_the_same_losses_over_200_updates(
    n_features: int, n_actions: int, prioritised: bool, dtype: str, tolerance: float
) -> None:
    pytest.importorskip("torch")
    agents = [fed(name, dtype, n_features, n_actions, prioritised=prioritised) for name in ("numba", "numpy", "torch")]
    losses = np.array([[agent.train_step() for _ in range(200)] for agent in agents], float)
    assert losses.std(axis=1).min() > 0.0
    np.testing.assert_allclose(losses[1:], np.stack([losses[0]] * 2), rtol=0, atol=tolerance)


def test_weights_travel_through_torchs_own_file_and_nothing_else_is_read_from_it(tmp_path: object) -> None:
    torch = pytest.importorskip("torch")
    from ai_backtrader.rl.torch_backend import read_state_dict, write_state_dict

    sizes = (4, 8, 2)
    parameters = initial_parameters(sizes, np.random.default_rng(7))
    path = tmp_path / "weights.pt"  # type: ignore[operator]  # pytest gives a path
    write_state_dict(path, sizes, parameters)
    np.testing.assert_array_equal(read_state_dict(path, sizes), parameters)
    with pytest.raises(SettingsError, match=r"layers must be \[4, 9, 2\]"):
        read_state_dict(path, (4, 9, 2))
    torch.save({"0.weight": pytest.raises}, path)  # a function: more than tensors
    with pytest.raises(AIBacktraderError, match="cannot read them as plain weights"):
        read_state_dict(path, sizes)


def test_torch_keeps_the_callers_number_of_threads() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fed("torch", "float32", 4, 2, prioritised=False).train_step()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
