"""The multi-task models against their NumPy restatement, and what sets each apart."""

import re

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, ops

from hamur import models
from hamur.data.schema import FieldSpec, Schema
from hamur.data.table import Table
from hamur.layers.anchors import preference_anchors
from hamur.layers.preference import FEATURES
from hamur.models import MULTI_TASK, MultiTaskConfig
from hamur.models.task_prediction import RowScores
from hamur.training import Adam, PreferenceOptions, preference_step
from hamur.training.preference.objective import TaskObjective
from tests.support import oracle
from tests.support.networks import randomise
from tests.support.task_oracle import Oracle, losses, published_total

ROWS = 5
VOCABULARIES = (7, 3, 11)
TASKS = {2: ("click", "conversion"), 3: ("click", "cart", "conversion")}
PREFERENCES = {
    2: np.array([[0.2, 0.8], [0.5, 0.5], [1.0, 0.0]], np.float32),
    3: np.array([[0.2, 0.7, 0.1], [0.0, 0.0, 1.0]], np.float32),
}
SIZES = dict(embed_dim=6, num_experts=4, expert_dims=(10, 8), tower_dims=(9, 5), dropout=0.0)
# At the published sizes, without the embedding.
PUBLISHED_COUNTS = {
    "singletask": 2_594_562,
    "sharedbottom": 1_338_882,
    "omoe": 7_589_384,
    "mmoe": 7_602_446,
    "ple": 11_370_659,
    "aitm": 2_849_538,
    "metaheac": 7_704_208,
    "pomoe": 8_461_362,
}
VARIANTS = [
    *[(name, preset, {}) for name in MULTI_TASK for preset in ("official", "pareto")],
    ("pomoe", "pareto", dict(gate="linear")),
    ("pomoe", "pareto", dict(gate="attention", tower_norm="layer")),
    ("pomoe", "pareto", dict(head="shared_score", expert_kind="cross")),
    ("pomoe", "pareto", dict(expert_kind="ple", tower_norm="batch", gate_anchor=4.0)),
]


def make_schema(tasks=2, vocabularies=VOCABULARIES, num_dense=4) -> Schema:
    fields = [FieldSpec(f"id_{i}", "sparse", v) for i, v in enumerate(vocabularies)]
    fields += [FieldSpec(f"dense_{i}", "dense") for i in range(num_dense)]
    return Schema("toy", tuple(fields), TASKS[tasks])


def make_inputs(rows=ROWS, seed=1):
    rng = np.random.default_rng(seed)
    sparse = np.stack([rng.integers(0, v, rows) for v in VOCABULARIES], axis=1).astype(np.int32)
    return sparse, rng.random((rows, 4)).astype(np.float32)


def make_model(name, preset="pareto", tasks=2, seed=3, **changes):
    sizes = SIZES | dict(generated_dropout=0.0) | changes
    return MULTI_TASK[name](make_schema(tasks), preset=preset, seed=seed, **sizes)


def parameters(model):
    return {p.name: p.asnumpy() for p in model.get_parameters()}


def call(model, inputs, preferences=None):
    tensors = [Tensor(x) for x in inputs]
    if model.takes_preferences:
        tensors.append(Tensor(preferences))
    return model(*tensors).asnumpy()


@pytest.mark.parametrize("form", ["plain", "factored"])
@pytest.mark.parametrize("tasks", [2, 3])
@pytest.mark.parametrize(("name", "preset", "more"), VARIANTS)
def test_logits_equal_the_restatement(eager, name, preset, more, tasks, form):
    if (name, preset, tasks) == ("pomoe", "official", 3):
        pytest.skip("two tasks are built into the published form")
    model = randomise(make_model(name, preset, tasks, first_layer=form, **more))
    model.set_train(False)
    inputs, preferences = make_inputs(), PREFERENCES[tasks]
    found = call(model, inputs, preferences)
    expected = Oracle(name, model.schema, model.config, parameters(model))(*inputs, preferences)
    shape = (ROWS, len(preferences), tasks) if name == "pomoe" else (ROWS, tasks)
    assert found.shape == shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", list(MULTI_TASK))
def test_parameter_counts_at_the_published_size(name):
    schema = make_schema(vocabularies=(9,) * 16, num_dense=63)
    counts = models.parameter_counts(MULTI_TASK[name](schema, preset="official"))
    copies = 2 if name == "singletask" else 1
    assert counts == {
        "parameters": PUBLISHED_COUNTS[name],
        "embedding_parameters": copies * 128 * 9 * 16,
    }


@pytest.mark.parametrize(
    ("experts", "of_experts", "of_hyper_network"),
    [(6, 7_484_928, 885_040), (8, 9_979_904, 1_170_000)],
)
def test_counts_of_the_parts_at_the_published_size(experts, of_experts, of_hyper_network):
    schema = make_schema(vocabularies=(9,) * 16, num_dense=63)
    model = MULTI_TASK["pomoe"](schema, preset="official", num_experts=experts)

    def count(*prefixes):
        return sum(p.size for p in model.trainable_params() if p.name.startswith(prefixes))

    assert count("experts.") == of_experts == experts * 1_247_488
    assert count("trunk.", "gate.") == of_hyper_network
    assert count("towers.") == 2 * 41_601
    assert count("embedding.numeric") == 8_192


def gradients_and_losses(model, inputs, labels, preferences, coefficients):
    objective = TaskObjective(model, model.config.preset == "official" and model.takes_preferences)
    weight = np.ones(len(labels), np.float32)
    slope = ops.value_and_grad(objective, None, ms.ParameterTuple(model.trainable_params()), True)
    arguments = [Tensor(x) for x in (*inputs, labels, weight, preferences, coefficients)]
    model.set_train()
    (total, raw), gradients = slope(*arguments, (), ())
    names = [p.name for p in model.trainable_params()]
    return float(total.asnumpy()), raw.asnumpy(), dict(zip(names, (g.asnumpy() for g in gradients)))


@pytest.mark.parametrize(
    ("name", "preset", "more"),
    [v for v in VARIANTS if v[2].get("tower_norm") != "batch" and v[0] != "singletask"],
)
def test_gradients_equal_central_differences_of_the_restatement(eager, name, preset, more):
    model = randomise(make_model(name, preset, **more), seed=5)
    inputs, rng = make_inputs(rows=12), np.random.default_rng(2)
    labels = rng.integers(0, 2, (12, 2)).astype(np.float32)
    published = name == "pomoe" and preset == "official"
    preferences = PREFERENCES[2][:1] if published else PREFERENCES[2]
    coefficients = preferences if name == "pomoe" else np.full((1, 2), 0.5, np.float32)
    before = parameters(model)  # a training step moves the running statistics
    total, _raw, gradients = gradients_and_losses(model, inputs, labels, preferences, coefficients)

    def restated(values):
        logits = Oracle(name, model.schema, model.config, values, True)(*inputs, preferences)
        each = losses(logits, labels)
        if published:
            return published_total(each[0], preferences[0].astype(np.float64))
        return float((coefficients * each).sum())

    assert total == pytest.approx(restated(before), abs=1e-5)
    for key, gradient in gradients.items():
        index = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
        expected = oracle.central_difference(restated, before, key, index)
        assert gradient[index] == pytest.approx(expected, rel=1e-3, abs=2e-6), key
    # All entries at once, along one random direction.
    along = {key: rng.standard_normal(g.shape) for key, g in gradients.items()}
    moved = [
        restated({k: v + sign * 1e-7 * along.get(k, 0.0) for k, v in before.items()})
        for sign in (1, -1)
    ]
    found = sum((gradients[key] * d).sum(dtype=np.float64) for key, d in along.items())
    size = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients.values()))
    assert found == pytest.approx((moved[0] - moved[1]) / 2e-7, abs=1e-3 * size)


def test_steps_of_the_published_preset_are_adam_with_l2_on_every_parameter(eager):
    """PyTorch's formula in NumPy; a decay so strong that a norm scale without it would show."""
    decay, rate, rows = 0.1, 1e-2, 12
    model = randomise(make_model("pomoe", "official"), seed=5)
    inputs, domain = make_inputs(rows), np.zeros(rows, np.int32)
    labels = np.random.default_rng(2).integers(0, 2, (rows, 2)).astype(np.float32)
    table = Table(*inputs, labels, domain, weight=np.ones(rows, np.float32))
    options = PreferenceOptions(
        (0.5, 0.4), 10, "official", "none", "dirichlet", 1, dirichlet_alpha=(1.0, 1.2)
    )
    step = preference_step(model, Adam(model.parameter_groups(), decay), None, 1, options)
    expected, compared = oracle.Adam(rate, decay), set()
    for number in range(2):
        before = {p.name: p.asnumpy().astype(np.float64) for p in model.trainable_params()}
        _, _, gradients = gradients_and_losses(model, inputs, labels, *step.weights(number))
        after = expected.update(before, gradients)
        step(table, rate, number)
        for parameter in model.trainable_params():
            key = parameter.name
            clear = np.abs(gradients[key]) > 1e-4
            clear &= np.abs(gradients[key] + decay * before[key]) > 1e-4
            found = parameter.asnumpy()[clear]
            np.testing.assert_allclose(found, after[key][clear], atol=1e-5, rtol=0, err_msg=key)
            compared |= {key.rpartition(".")[2]} if clear.any() else set()
    assert {"weight", "bias", "gamma", "beta", "table"} <= compared


def test_the_gates_of_mmoe_differ_and_sum_to_one(eager):
    model = make_model("mmoe")
    sparse, dense = make_inputs()
    gates = model.gates(model.embedding, model.embedding(Tensor(sparse), Tensor(dense))).asnumpy()
    np.testing.assert_allclose(gates.sum(-1), 1.0, atol=1e-6)
    assert np.abs(gates[:, 0] - gates[:, 1]).max() > 1e-3


def test_omoe_with_one_expert_is_sharedbottom(eager):
    one, plain = make_model("omoe", num_experts=1), make_model("sharedbottom")
    for parameter in plain.get_parameters():
        name = parameter.name.replace("bottom.", "experts.")
        parameter.set_data(dict(one.parameters_and_names())[name])
    for model in (one, plain):
        model.set_train(False)
    np.testing.assert_allclose(call(one, make_inputs()), call(plain, make_inputs()), atol=1e-6)


def test_ple_has_no_parameter_without_gradient(eager):
    model = randomise(make_model("ple"))
    labels = np.ones((ROWS, 2), np.float32)
    even = np.full((1, 2), 0.5, np.float32)
    gradients = gradients_and_losses(model, make_inputs(), labels, even, even)[2]
    # A dense layer's bias before a batch norm has none by mathematics.
    dead = [k for k, g in gradients.items() if not np.abs(g).max() > 0]
    assert all(re.fullmatch(r"(first|later\.\d+|towers\.mlp.*)\.bias", k) for k in dead), dead
    with pytest.raises(ValueError, match="`num_experts` must be at least 2 for ple"):
        make_model("ple", num_experts=1)


def test_the_first_task_of_aitm_ignores_the_second_bottom(eager):
    model = randomise(make_model("aitm"))
    model.set_train(False)
    before = call(model, make_inputs())
    weight = model.bottoms.layers[1].weight
    values = weight.asnumpy().copy()
    values[1] += 1.0
    weight.set_data(Tensor(values))
    after = call(model, make_inputs())
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    assert np.abs(before[:, 1] - after[:, 1]).max() > 1e-4


def test_probabilities_of_metaheac_reach_one_or_a_fifth(eager):
    for preset, bound in (("pareto", 1.0), ("official", 0.2)):
        model = randomise(make_model("metaheac", preset))
        for output in model.outputs:
            output.bias.set_data(Tensor(np.full(1, 6.0, np.float32)))
        model.set_train(False)
        p = 1 / (1 + np.exp(-call(model, make_inputs(rows=40)).astype(np.float64)))
        assert 0.9 * bound < p.max() <= bound + 1e-6


def test_many_preferences_equal_one_at_a_time(eager):
    model = randomise(make_model("pomoe"))
    model.set_train(False)
    first = np.linspace(0, 1, 25, dtype=np.float32)
    preferences = np.stack([first, 1 - first], axis=1)
    together = call(model, make_inputs(), preferences)
    apart = [call(model, make_inputs(), r[None])[:, 0] for r in preferences]
    np.testing.assert_allclose(together, np.stack(apart, axis=1), atol=1e-5)
    np.testing.assert_allclose(
        call(model, make_inputs(), preferences[::-1]), together[:, ::-1], atol=1e-5
    )


@pytest.mark.parametrize("form", ["plain", "factored"])
@pytest.mark.parametrize(
    "more",
    [{}, dict(gate="linear"), dict(gate="attention"), dict(expert_kind="cross")],
    ids=lambda more: "-".join(more.values()) or "default",
)
def test_scores_of_rows_equal_the_model_and_follow_its_weights(eager, more, form):
    model = randomise(make_model("pomoe", first_layer=form, **more))
    scores = RowScores(model)
    inputs, r = make_inputs(), PREFERENCES[2]
    for seed in (5, 6):
        randomise(model, seed)
        model.set_train(False)
        scores.refresh()
        expected = call(model, inputs, r)
        for place in range(len(r)):
            found = scores(*map(Tensor, inputs), Tensor(r[place : place + 1])).asnumpy()
            np.testing.assert_allclose(found, expected[:, place], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "more", [more for name, preset, more in VARIANTS if (name, preset) == ("pomoe", "pareto")]
)
def test_a_preference_per_row_scores_each_row_as_it_does_alone(eager, more):
    model = randomise(make_model("pomoe", tasks=3, **more))
    model.set_train(False)
    inputs = make_inputs()
    rows = np.random.default_rng(3).dirichlet(np.ones(3), ROWS).astype(np.float32)
    scores = RowScores(model)
    scores.refresh()
    whole = call(model, inputs, rows)  # every row at every preference
    found = scores(*map(Tensor, inputs), Tensor(rows)).asnumpy()
    np.testing.assert_allclose(found, whole[np.arange(ROWS), np.arange(ROWS)], atol=1e-5)
    found = scores(*map(Tensor, inputs), Tensor(rows[2:3])).asnumpy()
    np.testing.assert_allclose(found, whole[:, 2], atol=1e-5)


@pytest.mark.parametrize("gate", ["linear", "deep", "attention"])
def test_gates_of_pomoe_sum_to_one(eager, gate):
    model = randomise(make_model("pomoe", gate=gate, expert_kind="ple"))
    sparse, dense = (Tensor(x) for x in make_inputs())
    instance = model.embedding(sparse, dense)
    outputs = model.expert_outputs(instance, ops.ones((ROWS,), ms.float32))
    features = model.features(Tensor(PREFERENCES[2]))
    v, nearness = features[:, :FEATURES], features[:, FEATURES:]
    for k, g in enumerate(model.gate_weights(instance, outputs, v, nearness)):
        g = g.asnumpy()
        assert g.shape == (ROWS, 3, 6)
        np.testing.assert_allclose(g.sum(-1), 1.0, atol=1e-6)
        assert np.all(g[:, :, 2 * (1 - k) : 2 * (1 - k) + 2] == 0)  # the other task's experts


def test_anchors_spread_over_the_simplex_corners_first():
    np.testing.assert_allclose(preference_anchors(2, 4)[:, 0], [0, 0.25, 0.75, 1])
    for number in (1, 2, 3, 6, 9):
        points = preference_anchors(3, number)
        assert points.shape == (number, 3) and len(np.unique(points, axis=0)) == number
        np.testing.assert_allclose(points.sum(1), 1.0)
        np.testing.assert_array_equal(points[:3], np.eye(3)[:number])

    edges = preference_anchors(3, 7)[4:]
    np.testing.assert_allclose(np.sort(edges, axis=1), [[0, 0.5, 0.5]] * 3)


def test_anchors_serve_different_preferences_by_different_experts(eager):
    model = make_model("pomoe", head="shared_score")
    features = model.features(Tensor(np.eye(2, dtype=np.float32)))
    nearest = features.asnumpy()[:, FEATURES:].argmax(1)
    assert nearest.tolist() == [3, 0]


def test_folded_maps_of_the_published_gate_give_the_same_gate(eager):
    model = randomise(make_model("pomoe", "official"))
    model.set_train(False)
    sparse, dense = (Tensor(x) for x in make_inputs())
    instance = model.embedding(sparse, dense)
    v = model.trunk(Tensor(PREFERENCES[2][:1]))
    w1, w2, b1, b2 = (part.asnumpy()[0].astype(np.float64) for part in model.gate.generate(v, None))
    w1, w2 = w1.reshape(4, -1), w2.reshape(4, 4)
    e = model.embedding.embedded(instance).asnumpy().astype(np.float64)
    folded = np.maximum(e @ (w2 @ w1).T + w2 @ b1 + b2, 0)
    found = model.gate(model.embedding, instance, v).asnumpy()[:, 0]
    np.testing.assert_allclose(found, folded, rtol=1e-5, atol=1e-5)


def test_wrong_choices_are_refused():
    for field in ("head", "gate", "expert_kind", "tower_norm"):
        with pytest.raises(ValueError, match=f"`{field}` is 'other'; known are"):
            make_model("pomoe", **{field: "other"})
    with pytest.raises(ValueError, match="two tasks built in, the data have 3"):
        make_model("pomoe", "official", tasks=3)
    with pytest.raises(ValueError, match="unknown preset 'best'"):
        MultiTaskConfig(preset="best")
    with pytest.raises(ValueError, match="`meta_order` is 'third'"):
        make_model("metaheac", meta_order="third")
    with pytest.raises(ValueError, match="`expert_kind='ple'` needs"):
        make_model("pomoe", expert_kind="ple", num_experts=1)
