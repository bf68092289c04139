"""Training of multi-task models: what one step does, and what a whole run leaves behind."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from hamur import metrics, models, training
from hamur.data.synthetic.conflict import make_task_conflict
from hamur.models import task_prediction
from hamur.reporting.front import preference_for
from hamur.training.checkpoint import restore, snapshot
from hamur.training.preference.meta import meta_step
from hamur.training.preference.objective import TaskObjective
from hamur.training.preference.scalarise import scalarise, step_weights
from tests.support.runs import compiled_graphs

SIZES = dict(embed_dim=4, num_experts=2, expert_dims=(6, 5), tower_dims=(5, 3), dropout=0.2)
PREFERENCES = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]], np.float32)
RARE_TASK = np.array([[0.1007, 0.00381]])  # losses at which the published rule turns


@pytest.fixture(scope="module")
def data():
    splits, schema, _ = make_task_conflict(1_200, seed=3)
    return splits, schema, metrics.label_entropy(splits.train.labels)


def trainer(entropy, epochs=2, total_steps=16, **settings):
    names = ("scalarisation", "sampler", "number", "loss_norm")
    options = {name: settings.pop(name) for name in names if name in settings}
    options = {"number": 3} | options
    step = partial(
        training.preference_step,
        options=training.PreferenceOptions(tuple(entropy), total_steps, **options),
    )
    evaluation = partial(training.TaskEvaluation, preferences=PREFERENCES, entropy=entropy)
    defaults = dict(criterion="hypervolume", learning_rate=3e-3, patience=None, quiet=True)
    return training.Trainer(
        step, epochs=epochs, batch_size=128, evaluation=evaluation, **(defaults | settings)
    )


def pomoe(schema, **changes):
    return models.MULTI_TASK["pomoe"](schema, **(SIZES | changes))


@pytest.fixture(scope="module")
def trained(data):
    splits, schema, entropy = data
    model = pomoe(schema)
    with compiled_graphs() as graphs:
        run = trainer(entropy, scalarisation="smooth_tchebycheff").fit(
            model, splits.train, splits.valid
        )
    return model, run, graphs


def test_training_lowers_the_losses_and_tells_what_it_did(trained, data):
    run = trained[1]
    assert run.epochs == 2 and len(run.history) == 2
    assert run.history[1]["loss"] < run.history[0]["loss"]
    assert {"hypervolume", "ne_click_min", "ne_conversion_max", "auc_click"} <= set(run.history[0])


def test_each_phase_compiles_once(trained, data):
    """Two epochs of several steps and a last batch with fillers, a validation after each; then
    tables of other lengths."""
    model, _, graphs = trained
    assert len(graphs) == len(set(graphs)) > 1
    with compiled_graphs() as later:
        for table in (data[0].test, data[0].train):
            training.predict(model, table, preference=PREFERENCES[::-1].copy())
    assert later == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "preset", "settings"),
    [
        ("pomoe", "official", dict(scalarisation="official", number=1)),
        ("pomoe", "pareto", dict(scalarisation="epo")),
        ("pomoe", "pareto", dict(sampler="annealed", averaging=0.9)),
        ("pomoe", "pareto", dict(sampler="dirichlet", scalarisation="hypervolume")),
        ("mmoe", "official", dict(criterion="negative_loss")),
        ("metaheac", "pareto", dict(criterion="negative_loss")),
    ],
    ids=["official", "epo", "annealed", "dirichlet", "mmoe", "metaheac"],
)
def test_no_other_training_compiles_again(data, name, preset, settings):
    splits, schema, entropy = data
    model = models.MULTI_TASK[name](schema, preset=preset, **SIZES)
    fitted = trainer(entropy, **settings)
    steps = -(-len(splits.train) // fitted.batch_size)
    assert steps > 4
    if name == "metaheac":
        fitted = replace(fitted, step=partial(meta_step, steps_per_epoch=steps))
    with compiled_graphs() as graphs:
        fitted.fit(model, splits.train, splits.valid)
    assert len(graphs) == len(set(graphs)) > 1


@pytest.mark.slow
def test_one_pass_over_many_preferences_equals_one_at_a_time(trained, data):
    model, table = trained[0], data[0].test
    together = training.predict(model, table, preference=PREFERENCES)
    assert together.shape == (len(table), 3, 2) and together.dtype == np.float32
    for r, preference in enumerate(PREFERENCES):
        alone = training.predict(model, table, preference=preference)
        np.testing.assert_allclose(alone, together[:, r], atol=1e-5)


@pytest.mark.parametrize(
    ("limit", "value"), [("BLOCK", 2), ("POINTS", 3 * 32), ("MEMORY_MAP_BYTES", 100)]
)
def test_limits_of_memory_change_no_prediction(trained, data, monkeypatch, limit, value):
    """Fewer preferences a pass than there are, fewer rows a call, a result that is a file."""
    model, table = trained[0], data[0].test
    whole = training.predict(model, table, preference=PREFERENCES)
    monkeypatch.setattr(task_prediction, limit, value)
    found = task_prediction.StagedPredictor(model)(table, PREFERENCES)
    np.testing.assert_allclose(found, whole, atol=1e-6)
    assert isinstance(found, np.memmap) == (limit == "MEMORY_MAP_BYTES")


def test_wrong_preferences_and_models_without_are_refused(trained, data):
    splits, schema, _ = data
    with pytest.raises(ValueError, match="sums to 1"):
        training.predict(trained[0], splits.test, preference=[0.5, 0.6])
    with pytest.raises(ValueError, match="takes no preference"):
        plain = models.MULTI_TASK["mmoe"](schema, **SIZES)
        training.predict(plain, splits.test, preference=[0.5, 0.5])


def test_a_row_of_unknown_values_gets_a_finite_prediction(trained, data):
    table = data[0].test.take(np.arange(4))
    unknown = replace(table, sparse=np.zeros_like(table.sparse))
    assert np.isfinite(training.predict(trained[0], unknown)).all()


def test_the_preference_for_an_auc_is_interpolated_and_bounded():
    first = np.linspace(0, 1, 5)
    preferences = np.column_stack([first, 1 - first])
    areas = np.column_stack([0.6 + 0.2 * first, 0.9 - 0.2 * first])
    np.testing.assert_allclose(preference_for(preferences, areas, 0, 0.65), [0.25, 0.75])
    np.testing.assert_allclose(preference_for(preferences, areas, 1, 0.875), [0.125, 0.875])
    for beyond in (0.5, 0.81):
        with pytest.raises(ValueError, match="no preference gives task 1 an AUC of"):
            preference_for(preferences, areas, 0, beyond)


# one step at a time


class Slope(nn.Cell):
    """Losses (T,) and gradients of one preference on a table, compiled once for all tests."""

    def __init__(self, model, table):
        super().__init__(auto_prefix=False)
        self.objective = TaskObjective(model, False)
        self.weights = ms.ParameterTuple(model.trainable_params())
        self.gradients = ops.value_and_grad(self.objective, None, self.weights, True)
        ones = np.ones(len(table), np.float32)
        labels = table.labels.astype(np.float32)
        self.rows = [Tensor(x) for x in (table.sparse, table.dense, labels, ones)]
        self.set_train(False)

    def construct(self, sparse, dense, labels, weight, preference, coefficients):
        (_, losses), gradients = self.gradients(
            sparse, dense, labels, weight, preference, coefficients, (), ()
        )
        return losses, gradients

    def at(self, coefficients, preference):
        given = (Tensor(x[None].astype(np.float32)) for x in (preference, coefficients))
        losses, gradients = self(*self.rows, *given)
        return losses.asnumpy()[0], gradients

    def move(self, gradients, rate, only=""):
        """A plain gradient step on the parameters whose name starts so."""
        for parameter, gradient in zip(self.weights, gradients):
            if parameter.name.startswith(only):
                parameter.set_data(Tensor(parameter.asnumpy() - rate * gradient.asnumpy()))


@pytest.fixture(scope="module")
def slope(data):
    splits, schema, _ = data
    return Slope(pomoe(schema, dropout=0.0), splits.train.take(np.arange(300)))


@pytest.fixture
def kept(slope):
    """The slope, its weights put back afterwards."""
    before = snapshot(slope.objective.model)
    yield slope
    restore(slope.objective.model, before)


def test_a_linear_step_lowers_its_weighted_loss_for_every_preference(kept, data):
    start = snapshot(kept.objective.model)
    for preference in np.random.default_rng(0).dirichlet([1, 1], 20):
        weights = step_weights("linear", np.ones((1, 2)), preference[None])[0] / data[2]
        first, gradients = kept.at(weights, preference)
        kept.move(gradients, 1e-4)
        second, _ = kept.at(weights, preference)
        restore(kept.objective.model, start)
        assert second @ weights < first @ weights


@pytest.mark.parametrize(("rule", "rises"), [("official", True), ("linear", False)])
def test_the_published_coefficients_make_the_rare_task_worse(kept, rule, rises):
    """r = (.909, .091) at the losses of a good AliExpress model: the tower of task 2 climbs."""
    preference = np.array([0.90881443, 0.09118557])
    coefficients = scalarise(rule, RARE_TASK, preference[None])[0]
    expected = (0.927, -0.400) if rises else preference
    np.testing.assert_allclose(coefficients, expected, atol=1e-3)
    first, gradients = kept.at(coefficients, preference)
    kept.move(gradients, 1e-2, only="towers.1.")
    second, _ = kept.at(coefficients, preference)
    assert (second[1] > first[1]) == rises
    assert second[0] == pytest.approx(first[0], abs=1e-6)


class Given(nn.Cell):
    """A model of one table whose logits are given."""

    takes_preferences = False

    def __init__(self, probabilities, calibrator):
        super().__init__()
        p = np.array(probabilities)
        self.logits = Tensor(np.log(p / (1 - p)).astype(np.float32))
        self.config = SimpleNamespace(calibrator=calibrator)

    def construct(self, sparse, dense, weight, keep):
        return self.logits


@pytest.mark.parametrize(
    ("p", "violation"),
    [
        ([[0.5, 0.3], [0.4, 0.4]], 0.0),
        ([[0.5, 0.3], [0.2, 0.6]], 0.4 / 2),
        ([[0.5, 0.3, 0.4], [0.2, 0.6, 0.1]], (0.1 + 0.4) / 2),
    ],
    ids=["a funnel", "one row crossed", "three tasks"],
)
def test_the_calibrator_adds_its_weight_times_the_crossing(uncompiled, p, violation):
    ones = Tensor(np.ones(2, np.float32))
    labels = Tensor(np.zeros((2, len(p[0])), np.float32))
    even = Tensor(np.full((1, len(p[0])), 0.5, np.float32))
    totals = [
        TaskObjective(Given(p, w), False)(None, None, labels, ones, even, even, (), ())[0]
        for w in (0.0, 0.6)
    ]
    added = float(totals[1].asnumpy()) - float(totals[0].asnumpy())
    assert added == pytest.approx(0.6 * violation, abs=1e-6)


@pytest.mark.parametrize(("preset", "spared"), [("official", False), ("pareto", True)])
def test_biases_and_norms_are_decayed_by_the_published_preset_only(data, preset, spared):
    model = models.MULTI_TASK["mmoe"](data[1], preset=preset, **SIZES)
    optimizer = training.Adam(model.parameter_groups(), 1e-6)
    for parameter, decay in zip(optimizer.parameters, optimizer.decays):
        small = parameter.name.endswith(("bias", "gamma", "beta"))
        assert decay == (0.0 if small and spared else 1e-6), parameter.name


def test_rows_come_in_file_order_for_the_published_preset(data):
    _splits, schema, _ = data
    for preset, order in (("official", "ordered"), ("pareto", "shuffled")):
        assert models.MULTI_TASK["mmoe"](schema, preset=preset, **SIZES).batches == order
