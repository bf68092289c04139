"""Second derivatives of CoNet, compiled, against float64; the forms that must agree; the check."""

import re
from dataclasses import replace
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, ops

from hamur.data.cross_domain.collate import stream
from hamur.layers.primitives import cross_entropies
from hamur.models.conet import conet_logits, embed
from hamur.training.bilevel import graphs, hypergradient, second_order_check
from hamur.training.bilevel.conet_problem import CoNetProblem
from hamur.training.bilevel.graphs import TowerLoss, compiled_only, second_order
from hamur.training.bilevel.second_order_check import numpy_gradient, self_test
from hamur.training.bilevel.step import LowerLoss
from tests.support import cross_domain_oracle as oracle
from tests.support.pairs import Levels, random_pair

B, E, ROWS, WIDTHS = 16, 4, 30, (12, 8, 4)
PAIR = random_pair(2)


def t(array):
    return Tensor(np.asarray(array, np.float32))


def test_the_gradient_that_the_check_rests_on_is_that_of_the_loss():
    rng = np.random.default_rng(0)
    rows, ids = rng.standard_normal((ROWS, E)), rng.integers(0, ROWS, (2, B, 3))
    cross = [rng.standard_normal(s) for s in ((2, 12, 8), (12, 8), (2, 8, 4), (8, 4))]
    weights, labels = rng.random((2, B)), rng.integers(0, 2, (2, B))
    head = rng.standard_normal((2, 4, 1)), rng.standard_normal((2, 1, 1))

    def value(rows, cross):
        _, losses = numpy_gradient(rows, cross, weights, ids, labels, *head, 0.05)
        return (losses * weights).sum()

    gradients, _ = numpy_gradient(rows, cross, weights, ids, labels, *head, 0.05)
    for place, entry in ((0, (ids[0, 2, 1], 3)), (1, (1, 5, 2)), (2, (7, 1)), (4, (3, 2))):
        differences = []
        for step in (1e-6, -1e-6):
            moved = [rows.copy(), *(w.copy() for w in cross)]
            moved[place][entry] += step
            differences.append(value(moved[0], moved[1:]))
        numerical = (differences[0] - differences[1]) / 2e-6
        assert gradients[place][entry] == pytest.approx(numerical, rel=1e-6)


@pytest.mark.parametrize("slope", [pytest.param(0.0, marks=pytest.mark.slow), 0.05])
def test_hessian_product_and_influence_equal_float64_differences(slope, monkeypatch):
    monkeypatch.setattr(second_order_check, "SLOPE", slope)
    monkeypatch.setattr(second_order_check, "ROWS", B)
    monkeypatch.setattr(second_order_check, "LIMIT", 1e-5)
    self_test()


def test_the_check_refuses_zeros_and_uncompiled_code():
    def zeros(loss, positions, wanted):
        made = second_order(loss, positions, wanted)

        def product(*arguments):
            value, found = made(*arguments)
            found = found if isinstance(found, tuple) else (found,)
            return value, tuple(ops.zeros_like(each) for each in found)

        return product

    with pytest.raises(RuntimeError, match="second-order gradients are wrong"):
        self_test(zeros)
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        for uncompiled in (compiled_only, self_test, lambda: Levels(PAIR)):
            with pytest.raises(RuntimeError, match="needs compiled code"):
                uncompiled()
    finally:
        ms.set_context(mode=ms.GRAPH_MODE)


def test_only_known_places_of_the_package_take_derivatives():
    """Gradients of gradients are built by second_order, whose cells refuse uncompiled calls, and by
    MetaHeac's step, which has tests of its own; another place needs a guard, then a line here."""
    package = Path(graphs.__file__).parents[2]
    found = {
        path.relative_to(package / "training").as_posix()
        for path in package.rglob("*.py")
        if re.search(r"\b(value_and_)?grad\(", path.read_text(encoding="utf-8"))
    }
    second = {"bilevel/graphs.py", "preference/meta.py"}
    first = {"supervised.py", "preference/epo.py"}
    assert found == first | second


@pytest.fixture(scope="module", params=["leaky", pytest.param("relu", marks=pytest.mark.slow)])
def levels(request):
    """A training whose graphs the tests share; phi moved away from its start."""
    levels = Levels(
        PAIR, act=request.param, hyper_scope="all", estimator="cg", row_normalise=False,
        head_rows=B, batch_size=B, meta_batchsize=B, upper_batchsize=B, interval=99,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for parameter in levels.phi:
        noise = 0.3 * rng.standard_normal(parameter.shape)
        parameter.set_data(Tensor((parameter.asnumpy() + noise).astype(np.float32)))
    for number in range(3):
        levels.step(levels.batch(number + 1), 0.02, number)
    return levels


def problem_of(levels, scope, first_order=False):
    """B rows of each level, some users and one training row more than once."""
    upper, rng = levels.upper, stream(3)
    rows = levels.rows
    table = rows.dev.take(np.r_[0, np.arange(B - 1)] % len(rows.dev))
    dev = rows.collate(table, rows.draw(table, rng), B, histories=False)
    begin, end = rows.pool(rows.train)
    with_source = np.flatnonzero(end > begin)
    train = rows.train.take(with_source[np.r_[3, 3, np.arange(B - 2)] % len(with_source)])
    lower = rows.collate(train, rows.draw(train, rng), B)
    assert len(np.unique(lower.ids[0, :, 0])) < B and len(np.unique(lower.ids[0, :, 1])) > 5
    _, weights = upper.importance_weights(lower)
    upper.head = np.linspace(-1, 1, 9)
    return CoNetProblem(
        upper.cells, dev, lower, weights, upper.head_tensors(), scope, False, first_order
    )  # fmt: skip


def lower_gradient(problem, rows, cross, weights=None):
    """Float64 gradient of the lower loss, flat, rows of the system first."""
    weight, bias = (each.asnumpy().astype(np.float64) for each in problem.own_head)
    ids = problem.local.asnumpy()
    assert (problem.lower.id_mask == 1).all()  # the restatement masks no unknown id
    weights = problem.weights.astype(np.float64) if weights is None else weights
    slope = problem.cells.model.config.slope
    parts, _ = numpy_gradient(rows, cross, weights, ids, problem.lower.labels, weight, bias, slope)
    return np.concatenate([part.ravel() for part in parts])


def float64_of(problem):
    """(rows, cross matrices)"""
    rows = problem.rows.asnumpy().astype(np.float64)
    return rows, [w.asnumpy().astype(np.float64) for w in problem.cross]


def exact_influence(problem, p):
    """c (B,): the gradient of the loss of one source behaviour after the other, times p."""
    lower, found = problem.lower, np.empty(B)
    for row in range(B):
        unit = np.zeros((2, B))
        unit[0, row] = lower.has_source[row] * lower.row_mask[row]
        found[row] = lower_gradient(problem, *float64_of(problem), unit) @ p
    return found


def distance(found, expected):
    assert np.linalg.norm(expected) > 0
    return np.linalg.norm(np.ravel(found) - np.ravel(expected)) / np.linalg.norm(expected)


def test_products_of_the_problem_equal_float64_differences(levels):
    problem = problem_of(levels, "all")
    rows, cross = float64_of(problem)
    x = np.random.default_rng(0).standard_normal(len(problem.mask)) * problem.mask
    places = np.cumsum([rows.size, *(w.size for w in cross)])[:-1]

    def moved(step):
        first, *others = np.split(x * step, places)
        shifted = [w + o.reshape(w.shape) for w, o in zip(cross, others)]
        return lower_gradient(problem, rows + first.reshape(rows.shape), shifted)

    expected = problem.mask * (moved(1e-6) - moved(-1e-6)) / 2e-6
    assert distance(problem.hvp(x), expected) <= 1e-5
    assert distance(problem.influence(x), exact_influence(problem, x)) <= 1e-5


def test_the_gradient_of_phi_equals_float64_differences_of_the_whole_path(levels):
    """From the loss of each behaviour through its weight to every tensor of phi."""
    problem = problem_of(levels, "all")
    p = problem.dev_gradient()
    found = problem.phi_gradient(problem.influence(p), p)
    lower, table = problem.lower, levels.model.table.asnumpy().astype(np.float64)
    inputs = dict(
        candidate=table[lower.ids[0, :, 1:]].reshape(B, -1),
        category=lower.source_category,
        history=table[lower.history].reshape(*lower.history.shape[:3], -1),
        lengths=lower.history_mask.sum(-1).astype(int),
    )
    phi = {each.name.removeprefix("phi."): each.asnumpy().astype(np.float64) for each in levels.phi}
    c = exact_influence(problem, p)

    def inner(values):
        g = oracle.perceptron_scores(values, **inputs, published=False)
        return (oracle.corrected_weights(g, lower.has_source, lower.row_mask) * c).sum()

    rng = np.random.default_rng(1)
    entries = [
        (name, tuple(rng.integers(0, size) for size in value.shape))
        for name, value in phi.items()
        for _ in range(min(8, value.size))
    ]
    expected = -oracle.numerical_gradient(inner, phi, entries)
    values = np.array([found[f"phi.{name}"][index] for name, index in entries])
    assert np.count_nonzero(expected) > len(entries) / 2
    assert distance(values, expected) <= 1e-4


def test_the_rows_that_occur_give_what_the_whole_table_gives(levels):
    """The same graphs over the whole table, which fits into the static number of rows here."""
    problem = problem_of(levels, "all")
    cells, model, lower, dev = problem.cells, levels.model, problem.lower, problem.dev
    table = np.zeros((problem.places, model.config.embed_dim), np.float32)
    table[: model.table.shape[0]] = model.table.asnumpy()
    cut = table.size
    own = [t(lower.id_mask), t(lower.labels), *problem.own_head]

    def spread(x):
        """From the rows of the problem to those of the table."""
        rows = np.zeros_like(table, np.float64)
        rows[problem.unique] = x[:cut].reshape(table.shape)[: len(problem.unique)]
        return np.concatenate([rows.ravel(), x[cut:]])

    v = problem.dev_gradient()
    weights = np.stack([np.zeros(B), dev.row_weight])
    _, (rows, *cross) = cells.gradients(
        t(table), t(weights), Tensor(dev.ids), t(dev.id_mask), t(dev.labels), *map(t, problem.head),
        *problem.cross,
    )  # fmt: skip
    rows = rows.asnumpy()
    dense = np.zeros_like(rows)
    dense[problem.unique] = rows[problem.unique]  # H moves no other row
    dense = np.concatenate([part.ravel() for part in (dense, *(c.asnumpy() for c in cross))])
    assert distance(spread(v), dense) <= 1e-6
    arguments = (t(table), t(problem.weights), Tensor(lower.ids), *own, *problem.cross)
    _, parts = cells.hvp(*problem.vectors(spread(v)), *arguments)
    product = np.concatenate([part.asnumpy().ravel() for part in parts])
    assert distance(spread(problem.hvp(v)), product) <= 1e-6
    _, by_weight = cells.influence(*problem.vectors(spread(v)), *arguments)
    by_weight = by_weight[0] if isinstance(by_weight, tuple) else by_weight
    assert distance(problem.influence(v), by_weight.asnumpy()[0]) <= 1e-6


def test_the_first_order_influence_equals_the_second_order_one(levels):
    first, second = problem_of(levels, "user", True), problem_of(levels, "user", False)
    v = first.dev_gradient()
    np.testing.assert_allclose(v, second.dev_gradient())
    assert np.abs(v).max() > 0
    assert distance(first.influence(v), second.influence(v)) <= 1e-6


def test_gauss_newton_equals_float64_differences_of_the_logits_and_is_nowhere_negative(levels):
    problem = problem_of(levels, "embeddings")
    rows, cross = float64_of(problem)
    weight, bias = (each.asnumpy().astype(np.float64) for each in problem.own_head)
    ids, slope = problem.local.asnumpy(), problem.cells.model.config.slope

    def pulled(by, moved):
        """J' by and the logits: bce(z, 0) - bce(z, 1) = z."""
        negative, positive = (
            numpy_gradient(moved, cross, by, ids, np.full((2, B), y), weight, bias, slope)
            for y in (0.0, 1.0)
        )
        return negative[0][0] - positive[0][0], negative[1] - positive[1]

    x = np.random.default_rng(1).standard_normal(len(problem.mask)) * problem.mask
    along = x[: rows.size].reshape(rows.shape)
    step, ones = 1e-6, np.ones((2, B))
    difference = pulled(ones, rows + step * along)[1] - pulled(ones, rows - step * along)[1]
    rate = 1 / (1 + np.exp(-pulled(ones, rows)[1]))
    curvature = problem.weights.astype(np.float64) * rate * (1 - rate)
    expected = pulled(curvature * difference / (2 * step), rows)[0].ravel()
    expected = expected * problem.mask[: rows.size]
    assert distance(problem.gauss_newton(x)[: rows.size], expected) <= 1e-5
    for seed in range(20):
        x = np.random.default_rng(seed).standard_normal(len(problem.mask))
        assert x @ problem.gauss_newton(x) >= 0
    options = hypergradient.HyperOptions(estimator="gauss_newton", damping=0.1, cg_iters=60)
    found = hypergradient.hypergradient(problem, options)
    assert not found.flags["negative_curvature"] and found.residual <= 1e-3


def test_training_goes_on_after_a_negative_curvature_and_a_diverging_series(levels, monkeypatch):
    upper, options = levels.upper, levels.upper.options
    before = {each.name: each.asnumpy().copy() for each in levels.phi}
    weigh = upper.importance_weights
    largest, _ = hypergradient.power_iteration(
        (problem := problem_of(levels, "all")).hvp, problem.dev_gradient(), 8
    )
    cases = {
        "negative_curvature": dict(estimator="cg", damping=0.0),
        "diverged": dict(estimator="neumann", alpha=5 / largest, power_steps=0),
    }
    for flag, changes in cases.items():
        with monkeypatch.context() as patch:
            estimator = changes["estimator"]
            patch.setattr(upper, "options", replace(options, estimator=estimator, residual_every=1))
            patch.setattr(upper, "hyper_options", replace(upper.hyper_options, **changes))
            if flag == "negative_curvature":  # weights below 0 turn the Hessian upside down
                patch.setattr(upper, "importance_weights", lambda batch: (None, -weigh(batch)[1]))
            row = upper.update(0.5, 0.01)
        assert row[flag] == 1 and row["residual"] > 1
        numbers = [value for value in row.values() if value is not None]
        assert np.isfinite(numbers).all()
    after = {each.name: each.asnumpy() for each in levels.phi}
    assert all(np.isfinite(value).all() for value in after.values())
    assert any((after[name] != before[name]).any() for name in before)
    loss = levels.step(levels.batch(2), 0.02, 3)
    assert np.isfinite(loss.asnumpy()).all()


def test_scopes_are_nested(levels):
    v = {scope: problem_of(levels, scope).dev_gradient() for scope in ("user", "embeddings", "all")}
    for smaller, larger in (("user", "embeddings"), ("embeddings", "all")):
        inside = v[smaller] != 0
        np.testing.assert_array_equal(v[smaller][inside], v[larger][inside])
        assert (v[larger] != 0).sum() > inside.sum()


class DetachedTowerLoss(graphs.AttachedTowerLoss):
    """w(phi) inside the lower loss, but constant in theta."""

    def construct(
        self, rows, weights, ids, known, labels, head_weight, head_bias,
        category, embedded, real, effect, *rest,
    ):  # fmt: skip
        cross, phi = rest[: -graphs.NUM_PHI], rest[-graphs.NUM_PHI :]
        x = embed(rows, ids, known, True)
        share = weights[1]
        w = graphs.attached_weights(
            self.importance, phi, ops.stop_gradient(x), embedded, real, category, effect, share
        )
        logits = conet_logits(x, cross, head_weight, head_bias, self.slope)
        both = ops.stack((w * self.prior_weight, share))
        return (cross_entropies(logits, labels) * both).sum()


@pytest.mark.slow
def test_the_influence_form_equals_the_mixed_derivative(levels):
    """-(dw/dphi)' c against -d/dphi < grad L_low, p > through one graph with w(phi) inside."""
    problem = problem_of(levels, "all")
    p = problem.dev_gradient()
    found = problem.phi_gradient(problem.influence(p), p)
    importance = levels.upper.perceptron.importance
    loss = DetachedTowerLoss(levels.model.config.slope, importance, problem.prior_weight)
    crosses = len(problem.cross)
    system = (0, *range(11, 11 + crosses))
    phi = tuple(range(11 + crosses, 24 + crosses))
    _, mixed = second_order(loss, system, phi)(*problem.vectors(p), *problem.attached_arguments())
    a = np.concatenate([value.ravel() for value in found.values()])
    b = np.concatenate([-value.asnumpy().ravel() for value in mixed])
    assert distance(a, b) <= 1e-6


def test_tower_loss_of_the_problem_is_the_model_s(levels):
    problem = problem_of(levels, "all")
    loss = TowerLoss(levels.model.config.slope)(*problem.arguments(), *problem.cross).asnumpy()
    lower = problem.lower
    total, _ = LowerLoss(levels.model)(
        Tensor(lower.ids), t(lower.id_mask), t(lower.labels), t(problem.weights)
    )
    assert float(loss) == pytest.approx(float(total.asnumpy()), rel=1e-6)
