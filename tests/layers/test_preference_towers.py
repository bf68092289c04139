"""PreferenceTower against a restatement that mixes, multiplies and normalises in the order of its
equation, whatever order the layer takes; preferences below and above the number of experts."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from hamur.layers.preference import FEATURES
from hamur.layers.preference_towers import PreferenceTower, UnitVariance
from tests.support.oracle import central_difference, relu
from tests.support.task_oracle import normal, softmax

B, X, H, DIMS = 5, 3, 7, (6, 4)
FEW, MANY = 2, 8  # preferences: the product before and after the mixture
OFFSET = 20.0  # a mean of the hidden units far above their spread


def make_tower(kind="conditional"):
    """Heads, which start at zero, are drawn as well."""
    rng = np.random.default_rng(0)
    tower = PreferenceTower(rng, H, DIMS, 0.0, kind)
    for name, parameter in tower.parameters_and_names():
        if name.endswith("heads"):
            parameter.set_data(Tensor(rng.normal(0, 0.05, parameter.shape).astype(np.float32)))
    tower.biases[0].set_data(tower.biases[0] + OFFSET)
    return tower


def make_inputs(number, seed=1):
    rng = np.random.default_rng(seed)
    return {
        "gates": softmax(rng.normal(0, 1, (B, number, X))),
        "outputs": relu(rng.normal(0, 1, (B, X, H))),
        "v": rng.normal(0, 1, (number, FEATURES)),
    }


def restated(tower, kind, gates, outputs, v, **changed):
    """(B, R) in float64; `changed` replaces parameters."""
    p = {name: q.asnumpy().astype(np.float64) for name, q in tower.parameters_and_names()}
    p |= changed
    x = np.einsum("brx,bxh->brh", gates, outputs)
    for layer, width in enumerate(DIMS):
        x = normal(x @ p[f"{layer}.weight"] + p[f"{layer}.bias"])
        one = np.ones((len(v), 1))
        heads = (np.hstack([v, one]) if kind == "conditional" else one) @ p[f"norms.{layer}.heads"]
        x = relu(x * (1.0 + heads[:, :width]) + heads[:, width:])
    return (x @ p[f"{len(DIMS)}.weight"] + p[f"{len(DIMS)}.bias"])[..., 0]


def found(tower, gates, outputs, v):
    arrays = [Tensor(a.astype(np.float32)) for a in (gates, outputs, v)]
    return tower(*arrays, ms.ops.ones((B,), ms.float32)).asnumpy()


@pytest.mark.parametrize("number", [1, FEW, X, MANY])
@pytest.mark.parametrize("kind", ["conditional", "layer"])
def test_equals_the_restatement(kind, number):
    tower, inputs = make_tower(kind), make_inputs(number)
    expected = restated(tower, kind, **inputs)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found(tower, **inputs), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("number", [FEW, MANY])
def test_gradients_equal_central_differences(number):
    """Of the gates' logits: gates that do not sum to 1 have no meaning."""
    tower, inputs = make_tower(), make_inputs(number)
    tower.set_train()
    inputs = {"logits": np.log(inputs.pop("gates")), **inputs}
    rng = np.random.default_rng(2)
    slope = rng.normal(0, 1, (B, number))
    weight = ms.ops.ones((B,), ms.float32)

    def total(logits, outputs, v):
        scores = tower(ms.ops.softmax(logits, -1), outputs, v, weight)
        return (scores * Tensor(slope.astype(np.float32))).sum()

    def expected(values):
        values = dict(values)
        gates = softmax(values.pop("logits"))
        return (restated(tower, "conditional", gates, **values) * slope).sum()

    arrays = [Tensor(a.astype(np.float32)) for a in inputs.values()]
    of_inputs, of_parameters = ms.grad(
        total, grad_position=(0, 1, 2), weights=tuple(tower.get_parameters())
    )(*arrays)
    values = inputs | {name: p.asnumpy() for name, p in tower.parameters_and_names()}
    for name, gradient in zip(values, [*of_inputs, *of_parameters], strict=True):
        gradient = gradient.asnumpy()
        for flat in rng.permutation(gradient.size)[:12]:
            index = np.unravel_index(flat, gradient.shape)
            np.testing.assert_allclose(
                gradient[index],
                central_difference(expected, values, name, index),
                rtol=1e-3,
                atol=1e-4,
                err_msg=f"{name} {index}",
            )


def test_gates_that_cancel_all_experts_leave_finite_numbers_and_gradients():
    """The same P_i for all experts but the sign: the mixture has variance 0, up to rounding."""
    tower, inputs = make_tower(), make_inputs(MANY)
    tower.set_train()
    inputs["gates"][:] = (0.5, 0.5, 0.0)
    first = np.linalg.pinv(tower.weights[0].asnumpy().astype(np.float64))
    wanted = 1e3 * np.random.default_rng(3).normal(0, 1, (B, DIMS[0]))
    bias = tower.biases[0].asnumpy().reshape(-1)
    for expert, sign in enumerate((1, -1)):
        inputs["outputs"][:, expert] = (sign * wanted - bias) @ first
    weight = ms.ops.ones((B,), ms.float32)

    def total(gates, outputs, v):
        return tower(gates, outputs, v, weight).sum()

    arrays = [Tensor(a.astype(np.float32)) for a in inputs.values()]
    for gradient in (total(*arrays), *ms.grad(total, grad_position=(0, 1, 2))(*arrays)):
        assert np.isfinite(gradient.asnumpy()).all()


def test_rows_of_variance_one():
    rng = np.random.default_rng(4)
    x = rng.normal(0, 3, (B, H))
    x -= x.mean(axis=1, keepdims=True)
    scaled = UnitVariance(H)(Tensor(x.astype(np.float32)))[0].asnumpy()
    np.testing.assert_allclose(scaled, normal(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("number", [FEW, MANY])
def test_a_tower_without_hidden_layers_is_linear(number):
    tower, inputs = (
        PreferenceTower(np.random.default_rng(5), H, (), 0.0, "layer"),
        make_inputs(number),
    )
    weight, bias = (p[0].asnumpy() for p in (tower.weights, tower.biases))
    expected = np.einsum("brx,bxh,ho->br", inputs["gates"], inputs["outputs"], weight) + bias[0]
    np.testing.assert_allclose(found(tower, **inputs), expected, rtol=1e-5, atol=1e-5)
