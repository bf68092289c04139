"""Outputs, loss, gradients and running statistics of the six models against the NumPy oracle."""

import functools
from itertools import product

import numpy as np
import pytest
from mindspore import Tensor

from hamur.layers import AdapterConfig
from tests.support import networks, oracle

PRESETS = {
    "paper": AdapterConfig.paper,
    "official": AdapterConfig.official,
    "best": AdapterConfig.best,
}
QUOTAS = (9, 3, 10)  # a domain below min_domain_rows between two above it
CASES = [(name, preset) for preset in PRESETS for name in networks.MODELS]


def filled_batch(quotas=QUOTAS, seed=1):
    """Rows sorted by domain, every seventh a filler."""
    batch = networks.make_batch(networks.sorted_domains(*quotas), seed)
    batch["weight"][::7] = 0.0
    return batch


def assert_pass(found, model, batch, expected):
    """Logits of the real rows and running statistics after a pass, within 1e-5."""
    real = batch["weight"] > 0
    np.testing.assert_allclose(found[real], expected.logits[real], atol=1e-5, rtol=1e-5)
    after = networks.arrays(model)
    for key, values in expected.running.items():
        np.testing.assert_allclose(after[key], values, atol=1e-5, rtol=1e-5, err_msg=key)


def assert_equal_to_oracle(name, model, batch):
    """One training and one evaluation pass."""
    before, network = networks.arrays(model), networks.network_of(name, model)
    for training in (True, False):
        expected = oracle.forward(network, before, **networks.inputs(batch), training=training)
        assert_pass(networks.logits(model, batch, training), model, batch, expected)
        networks.restore(model, before)


@functools.cache
def trained_once(name, preset):
    """(model, parameters before, batch, loss, gradients) of one training-mode pass."""
    model = networks.randomise(networks.make_model(name, PRESETS[preset]()))
    before, batch = networks.arrays(model), filled_batch()
    loss, gradients = networks.loss_and_gradients(model, batch)
    networks.restore(model, before)
    return model, before, batch, loss, gradients


def assert_gradients(name, model, before, batch, gradients, entries=2):
    """Entries of every parameter's gradient, the largest among them, by central differences."""
    network = networks.network_of(name, model)
    random = np.random.default_rng(7)

    def loss(params):
        return oracle.batch_loss(network, params, **batch)

    for key, gradient in gradients.items():
        chosen = {np.unravel_index(np.abs(gradient).argmax(), gradient.shape)}
        while len(chosen) < min(entries, gradient.size):
            chosen.add(tuple(int(random.integers(size)) for size in gradient.shape))
        for index in chosen:
            expected = oracle.central_difference(loss, before, key, index)
            message = f"{key}{list(index)}"
            np.testing.assert_allclose(
                gradient[index], expected, rtol=1e-3, atol=2e-6, err_msg=message
            )


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_logits_and_running_statistics(name, preset):
    model, before, batch, *_ = trained_once(name, preset)
    networks.restore(model, before)
    assert_equal_to_oracle(name, model, batch)


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_loss_and_gradients(name, preset):
    model, before, batch, loss, gradients = trained_once(name, preset)
    expected = oracle.batch_loss(networks.network_of(name, model), before, **batch)
    assert loss == pytest.approx(expected, abs=1e-5)
    assert set(gradients) == {p.name for p in model.trainable_params()}
    assert_gradients(name, model, before, batch, gradients)


@pytest.mark.parametrize("name", networks.MODELS)
def test_official_on_seven_rows(name):
    model = networks.randomise(networks.make_model(name, AdapterConfig.official()))
    assert_equal_to_oracle(name, model, networks.make_batch([2, 0, 1, 1, 0, 2, 1]))


@pytest.mark.parametrize(
    ("name", "quotas", "changes"),
    [
        ("wd_md", None, {}),
        ("wd_md_adp", None, {}),
        ("adasparse", None, {}),
        ("wd_md_adp", QUOTAS, {"backbone": "domain"}),
        ("mlp_adp", QUOTAS, {"embedding_dropout": 0.3}),
    ],
)
def test_dropout_multiplies_by_the_masks_it_is_given(name, quotas, changes):
    """Every block keeps 0.8 of its outputs, scaled by 1/0.8; the embedding, if at all, 0.7."""
    config = AdapterConfig.paper(**changes)
    model = networks.randomise(networks.make_model(name, config, dropout=0.2))
    batch, random, masks, keep = filled_batch(), np.random.default_rng(3), [], {}
    places = ["embedding"] if config.embedding_dropout else []
    for place, (width, rate) in zip([*places, 0, 1], model.dropouts, strict=True):
        masks.append(random.random((len(batch["domain"]), width)) >= rate)
        keep[place] = masks[-1] / (1 - rate)
    before = networks.arrays(model)
    parts = [Tensor(batch[part]) for part in ("sparse", "dense", "domain", "weight")]
    model.set_train()
    found = model(*parts, quotas, tuple(Tensor(mask.astype(np.uint8)) for mask in masks)).asnumpy()
    expected = oracle.forward(
        networks.network_of(name, model), before, **networks.inputs(batch), training=True, keep=keep
    )
    assert_pass(found, model, batch, expected)


@pytest.mark.parametrize(
    ("name", "num_domains"),
    [("mlp_adp", 2), ("dcn_md_adp", 1), ("dcn_md_adp", 5), ("wd_md_adp", 2)]
    + networks.slow(
        [("mlp_adp", 1), ("mlp_adp", 3), ("mlp_adp", 5)]
        + [("dcn_md_adp", 2), ("dcn_md_adp", 3)]
        + [("wd_md_adp", 1), ("wd_md_adp", 3), ("wd_md_adp", 5)]
    ),
)
def test_any_number_of_domains_and_any_places(name, num_domains):
    """One cell behind each hidden layer, and two cells; domains of 1, 9, 4, 8, 2 rows."""
    batch = networks.make_batch(networks.sorted_domains(*(1, 9, 4, 8, 2)[:num_domains]))
    if num_domains == 1:
        batch = networks.make_batch(networks.sorted_domains(6))
    for layers in ((1,), (2,), (1, 3)):  # the last layer alone is the case of all other tests
        config = AdapterConfig.paper(adapter_layers=layers)
        model = networks.make_model(name, config, num_domains, hidden_dims=(10, 6, 8))
        assert_equal_to_oracle(name, networks.randomise(model), batch)


SWITCHES = {
    "side": ("domain", "shared"),
    "init": ("scaled", "ones"),
    "instance_head": ("linear", "bn_relu"),
    "instance_scale": (None, 1.0),
    "up_bias": (False, True),
    "cell_bias": ("domain", "shared"),
    "gamma_init": (0.1, 1.0),
    "affine": ("domain", "shared"),
    "norm_group": ("domain", "pooled"),
    "norm_inference": ("running", "batch"),
    "norm_variance": ("biased", "unbiased"),
    "min_domain_rows": (8, 0),
    "tower_rows": ("own", "all"),
    "tower_norm": ("domain", "pooled"),
    "bn_repeat": (1, 3),
    "embedding_std": (1e-2, 1e-4),
    "backbone": ("published", "domain"),
}


def flipped(switch, preset):
    """The preset with one switch changed to the other preset's value (or its only other value)."""
    ours = PRESETS[preset]()
    paper_value, other = SWITCHES[switch]
    changed = other if getattr(ours, switch) in (paper_value, None) else paper_value
    return PRESETS[preset](**{switch: changed})


def model_in_turn(switch, preset):
    return networks.ADAPTED[(2 * list(SWITCHES).index(switch) + (preset == "official")) % 3]


def switch_cases():
    """(switch, preset, model): each with one model in turn, with the others in the slow run."""
    for switch, preset, name in product(SWITCHES, ("paper", "official"), networks.ADAPTED):
        chosen = name == model_in_turn(switch, preset)
        yield (switch, preset, name) if chosen else networks.slow([(switch, preset, name)])[0]


@pytest.mark.parametrize(("switch", "preset", "name"), switch_cases())
def test_every_switch_alone(switch, preset, name):
    model = networks.randomise(networks.make_model(name, flipped(switch, preset)))
    assert_equal_to_oracle(name, model, filled_batch())


@pytest.mark.parametrize("preset", ["paper", "official"])
@pytest.mark.parametrize("name", networks.ADAPTED)
def test_compiled_step(name, preset, compiled):
    """What training runs: compiled, slices of a sorted batch where the preset routes by quotas."""
    model = networks.randomise(networks.make_model(name, PRESETS[preset]()))
    before, batch = networks.arrays(model), filled_batch()
    quotas = QUOTAS if model.batches == "quota" else None
    loss, gradients = networks.loss_and_gradients(model, batch, quotas)
    result = oracle.forward(
        networks.network_of(name, model), before, **networks.inputs(batch), training=True
    )
    expected = oracle.logit_loss(result.logits, batch["labels"], batch["weight"])
    assert loss == pytest.approx(expected, abs=1e-5)
    after = networks.arrays(model)
    for key, values in result.running.items():
        np.testing.assert_allclose(after[key], values, atol=1e-5, err_msg=key)
    assert_gradients(name, model, before, batch, gradients, entries=1)


def assert_three_steps(name, config, **sizes):
    """Compiled training steps on one batch have finite losses."""
    model = networks.make_model(name, config, **sizes)
    batch = networks.make_batch(networks.sorted_domains(12, 3, 10))
    assert np.isfinite(networks.supervised_steps(model, batch, 3, 1e-2)).all()


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper", "official"])
@pytest.mark.parametrize("switch", SWITCHES)
def test_three_steps_with_every_switch(switch, preset, compiled):
    assert_three_steps(model_in_turn(switch, preset), flipped(switch, preset))


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("mlp_adp", AdapterConfig.paper(batches="shuffle")),
        ("wd_md_adp", AdapterConfig.official(batches="quota")),
        ("dcn_md_adp", AdapterConfig.best(embedding_dropout=0.2)),
    ],
    ids=["paper shuffled", "official by quota", "best with dropout"],
)
def test_three_compiled_steps(name, config, compiled):
    assert_three_steps(name, config, dropout=0.2)
