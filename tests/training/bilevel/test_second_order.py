"""Second derivatives of CoNet, compiled, against float64; the forms that must agree; the check."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, ops

from hamur.layers.softplus import cross_entropies
from hamur.models.conet import conet_logits, embed
from hamur.training.bilevel import check, graphs
from hamur.training.bilevel.check import numpy_gradient, self_test
from hamur.training.bilevel.graphs import TowerLoss, compiled_only, second_order
from hamur.training.bilevel.problem import CoNetProblem
from hamur.training.bilevel.rows import PairRows, stream
from hamur.training.bilevel.session import CrossDomainSession, row_rules
from hamur.training.bilevel.steps import LowerLoss
from tests.training.bilevel.pairs import options, random_pair

B, E, ROWS, WIDTHS = 16, 4, 30, (12, 8, 4)


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
    monkeypatch.setattr(check, "SLOPE", slope)
    monkeypatch.setattr(check, "ROWS", B)
    monkeypatch.setattr(check, "LIMIT", 1e-5)
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
        with pytest.raises(RuntimeError, match="needs compiled code"):
            compiled_only()
        with pytest.raises(RuntimeError, match="needs compiled code"):
            CrossDomainSession(random_pair(0), options())
    finally:
        ms.set_context(mode=ms.GRAPH_MODE)


@pytest.fixture(scope="module")
def session():
    """A session whose graphs the tests share; phi moved away from its start."""
    made = CrossDomainSession(
        random_pair(2), options(hyper_scope="all", estimator="cg", row_normalise=0), say=str
    )
    for number, batch in enumerate(made.rows.lower_batches(0, 8, True)):
        made.lower_step(t(0.05), batch)
        if number == 5:
            break
    return made


def problem_of(session, scope, first_order=False):
    upper, rng = session.upper, stream(3)
    rows = session.rows
    users = np.array([0, 0, 1, 2, 3, 4, 5, 6])  # the first row twice: a repeated user
    table = rows.dev.take(users % len(rows.dev))
    dev = rows.assemble(table, rows.draw(table, rng), 8, histories=False)
    begin, end = rows.pool(rows.train)
    with_source = np.flatnonzero(end > begin)
    chosen = with_source[[0, 1, 2, 5, 9, 11, 11, 12]]  # one row twice
    train = rows.train.take(chosen)
    lower = rows.assemble(train, rows.draw(train, rng), 8)
    _, weights = upper.weigh(lower)
    upper.head = np.linspace(-1, 1, 9)
    return CoNetProblem(
        upper.cells, dev, lower, weights, upper.dev_head(), scope, False, first_order
    )  # fmt: skip


def lower_gradient(problem, rows, cross):
    """Float64 gradient of the lower loss, flat, rows of the system first."""
    weight, bias = (each.asnumpy().astype(np.float64) for each in problem.own_head)
    ids = problem.local.asnumpy()
    assert (problem.lower.known == 1).all()  # the restatement masks no unknown id
    parts, _ = numpy_gradient(
        rows, cross, problem.weights.astype(np.float64), ids, problem.lower.labels, weight, bias,
        0.05,
    )  # fmt: skip
    return np.concatenate([part.ravel() for part in parts])


def test_products_of_the_problem_equal_float64_differences(session):
    problem = problem_of(session, "all")
    rows = problem.rows.asnumpy().astype(np.float64)
    cross = [w.asnumpy().astype(np.float64) for w in problem.cross]
    x = np.random.default_rng(0).standard_normal(len(problem.mask)) * problem.mask
    places = np.cumsum([rows.size, *(w.size for w in cross)])[:-1]

    def moved(step):
        first, *others = np.split(x * step, places)
        shifted = [w + o.reshape(w.shape) for w, o in zip(cross, others)]
        return lower_gradient(problem, rows + first.reshape(rows.shape), shifted)

    expected = problem.mask * (moved(1e-6) - moved(-1e-6)) / 2e-6
    found = problem.hvp(x)
    assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


def test_the_first_order_influence_equals_the_second_order_one(session):
    first, second = problem_of(session, "user", True), problem_of(session, "user", False)
    v = first.dev_gradient()
    np.testing.assert_allclose(v, second.dev_gradient())
    a, b = first.influence(v), second.influence(v)
    assert np.abs(v).max() > 0 and np.abs(b).max() > 0
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * np.abs(b).max())


def test_scopes_are_nested(session):
    v = {
        scope: problem_of(session, scope).dev_gradient() for scope in ("user", "embeddings", "all")
    }
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
def test_the_influence_form_equals_the_mixed_derivative(session):
    """-(dw/dphi)' c against -d/dphi < grad L_low, p > through one graph with w(phi) inside."""
    problem = problem_of(session, "all")
    p = problem.dev_gradient()
    found = problem.phi_gradient(problem.influence(p), p)
    importance = session.upper.perceptron.importance
    loss = DetachedTowerLoss(0.05, importance, problem.prior_weight)
    crosses = len(problem.cross)
    system = (0, *range(11, 11 + crosses))
    phi = tuple(range(11 + crosses, 24 + crosses))
    _, mixed = second_order(loss, system, phi)(*problem.vectors(p), *problem.attached_arguments())
    a = np.concatenate([value.ravel() for value in found.values()])
    b = np.concatenate([-value.asnumpy().ravel() for value in mixed])
    assert np.linalg.norm(b) > 0
    assert np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(b)


def test_phi_gradient_equals_central_differences(session):
    problem = problem_of(session, "all")
    p = problem.dev_gradient()
    c = problem.influence(p)
    found = problem.phi_gradient(c, p)
    upper = session.upper
    for name in ("phi.item_weight", "phi.gate_weight_0", "phi.query", "phi.category_bias"):
        parameter = next(each for each in upper.perceptron.phi if each.name == name)
        value = parameter.asnumpy().copy()
        along = np.sign(found[name]).astype(np.float32)
        sums = []
        for step in (3e-3, -3e-3):
            parameter.set_data(Tensor(value + np.float32(step) * along))
            _, weights = upper.weigh(problem.lower)
            sums.append((weights[0].astype(np.float64) * c).sum())
        parameter.set_data(Tensor(value))
        numerical = -(sums[0] - sums[1]) / 6e-3
        exact = float((found[name] * along).sum())
        assert numerical == pytest.approx(exact, rel=2e-2, abs=1e-6)


def test_tower_loss_of_the_problem_is_the_model_s(session):
    problem = problem_of(session, "all")
    loss = TowerLoss(0.05)(*problem.arguments(), *problem.cross).asnumpy()
    lower = problem.lower
    total, _ = LowerLoss(session.model)(
        Tensor(lower.ids), t(lower.known), t(lower.labels), t(problem.weights)
    )
    assert float(loss) == pytest.approx(float(total.asnumpy()), rel=1e-6)


def test_rows_of_a_problem_follow_the_rules_of_the_session(session):
    again = PairRows(session.rows.pair, row_rules(session.config))
    np.testing.assert_array_equal(again.dev.row_id, session.rows.dev.row_id)
