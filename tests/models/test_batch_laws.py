"""What a score may depend on: laws about batches, domains, fillers and routing modes."""

import dataclasses

import numpy as np
import pytest
from mindspore import Tensor

from hamur import models
from hamur.layers import AdapterConfig
from tests.support import networks
from tests.support.networks import rows_of

ROWS = 257
# Models of others that depend on the batch in their public versions.
DEPENDENT = ("star", "m2m", "adaptdhm")
# Models of others whose towers, gates or experts are of a domain.
ISOLATED = ("single_domain", "sharedbottom", "mmoe", "ple", "ppnet", "star", "sarnet")


def with_statistics(name, config, **options):
    """A model of random parameters whose running statistics are those of real batches."""
    model = networks.randomise(networks.make_model(name, config, **options))
    for seed in range(3):
        networks.logits(model, random_batch(60, seed), training=True)
    return model


def random_batch(rows, seed, num_domains=3):
    domain = np.random.default_rng(seed).integers(0, num_domains, rows)
    return networks.make_batch(domain, seed)


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-5)
    probabilities = (1 / (1 + np.exp(-logit.astype(np.float64))) for logit in (found, expected))
    np.testing.assert_allclose(*probabilities, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "preset"),
    [(name, AdapterConfig.paper) for name in ("mlp", "mlp_adp", "dcn_md_adp")]
    + [("mlp_adp", AdapterConfig.best)]
    + [(name, AdapterConfig.paper) for name in models.BASELINES if name in DEPENDENT]
    + networks.slow((n, AdapterConfig.paper) for n in models.BASELINES if n not in DEPENDENT)
    + networks.slow((name, AdapterConfig.paper) for name in ("dcn_md", "wd_md", "wd_md_adp")),
)
def test_score_ignores_the_rest_of_the_batch(name, preset):
    """One by one, shuffled, a domain alone, with fillers, sorted in slices: the same scores."""
    model, batch = with_statistics(name, preset()), random_batch(ROWS, 9)
    whole = networks.logits(model, batch)
    assert whole.shape == (ROWS,)
    for row in range(0, ROWS, 50):
        single = networks.logits(model, rows_of(batch, [row]))
        assert single.shape == (1,)
        assert np.isfinite(single).all()
        assert_close(single, whole[[row]])
    order = np.random.default_rng(1).permutation(ROWS)
    assert_close(networks.logits(model, rows_of(batch, order)), whole[order])
    for d in range(3):
        own = np.flatnonzero(batch["domain"] == d)
        assert_close(networks.logits(model, rows_of(batch, own)), whole[own])
    padded = rows_of(batch, np.r_[np.arange(ROWS), np.zeros(30, int)])
    padded["weight"][ROWS:] = 0.0
    assert_close(networks.logits(model, padded)[:ROWS], whole)
    order = np.argsort(batch["domain"], kind="stable")
    quotas = tuple(np.bincount(batch["domain"]).tolist())
    assert_close(networks.logits(model, rows_of(batch, order), quotas=quotas), whole[order])


def test_the_detector_sees_batch_statistics():
    """Preset official scores with the statistics of the batch: halves differ from the whole."""
    model, batch = with_statistics("mlp_adp", AdapterConfig.official()), random_batch(ROWS, 9)
    whole = networks.logits(model, batch)
    halves = [
        networks.logits(model, rows_of(batch, part)) for part in (slice(128), slice(128, ROWS))
    ]
    assert np.abs(np.concatenate(halves) - whole).max() > 1e-3


def domain_parameters(model):
    """Trainable parameters with one slice a domain; no other has a first axis of 3, but experts
    that all domains share."""
    stacked = [parameter for parameter in model.trainable_params() if parameter.shape[0] == 3]
    return [parameter for parameter in stacked if not parameter.name.startswith("experts.")]


@pytest.mark.parametrize("quotas", [(12, 0, 0), None], ids=["slices", "select"])
@pytest.mark.parametrize(
    ("name", "backbone"),
    [(name, "published") for name in ("mlp", *networks.ADAPTED, *ISOLATED)]
    + [("dcn_md_adp", "domain")],
)
def test_absent_domains_get_no_gradient_and_no_statistics(name, backbone, quotas):
    model = networks.randomise(networks.make_model(name, AdapterConfig.paper(backbone=backbone)))
    before, batch = networks.arrays(model), networks.make_batch(networks.sorted_domains(12, 0, 0))
    _, gradients = networks.loss_and_gradients(model, batch, quotas)
    owned = [parameter.name for parameter in domain_parameters(model)]
    assert owned
    for parameter in owned:
        assert np.abs(gradients[parameter][1:]).max() == 0.0, parameter
    for key, values in networks.arrays(model).items():
        if key not in gradients and len(values) == 3:
            np.testing.assert_array_equal(values[1:], before[key][1:], err_msg=key)


# Pooled norms multiply the other domains' rows by zero, which NaN would survive.
@pytest.mark.parametrize(
    ("preset", "other"), [(AdapterConfig.paper, np.nan), (AdapterConfig.best, 7.0)]
)
@pytest.mark.parametrize("name", ["mlp", *networks.ADAPTED, *ISOLATED])
def test_quota_mode_never_reads_other_domains_parameters(name, preset, other):
    model = networks.randomise(networks.make_model(name, preset()))
    batch = networks.make_batch(networks.sorted_domains(12, 0, 0))
    before = networks.logits(model, batch, quotas=(12, 0, 0))
    assert np.isfinite(before).all()
    for parameter in domain_parameters(model):
        values = parameter.asnumpy().copy()
        values[1:] = other
        parameter.set_data(Tensor(values))
    np.testing.assert_array_equal(networks.logits(model, batch, quotas=(12, 0, 0)), before)


@pytest.mark.parametrize(
    ("name", "preset"),
    [(n, p) for n in networks.BACKBONES for p in (AdapterConfig.paper, AdapterConfig.official)]
    + [(name, AdapterConfig.best) for name in models.BASELINES],
)
def test_silenced_cells_leave_the_plain_backbone(name, preset):
    """Scale and shift 0 in the cells' norm: equal to the plain model with the same weights."""
    adapted = networks.randomise(networks.make_model(f"{name}_adp", preset()))
    plain = networks.make_model(name, preset())
    values = networks.arrays(adapted)
    for key in values:
        if "adapter_cells" in key and key.endswith(("gamma", "beta")):
            values[key] = 0.0 * values[key]
    networks.restore(adapted, values)
    networks.restore(plain, values)
    batch = random_batch(40, 3)
    for mode in (True, False):
        np.testing.assert_allclose(
            networks.logits(adapted, batch, mode), networks.logits(plain, batch, mode), atol=1e-6
        )


def after_a_pass(model, batch, quotas):
    """Loss, gradients ("d name") and statistics of a training pass; the model is put back."""
    before = networks.arrays(model)
    loss, gradients = networks.loss_and_gradients(model, batch, quotas)
    statistics = {k: v for k, v in networks.arrays(model).items() if k not in gradients}
    networks.restore(model, before)
    return {"loss": loss} | statistics | {f"d {k}": v for k, v in gradients.items()}


QUOTAS = {3: (9, 3, 10), 10: (9, 1, 4, 7, 2, 30, 3, 3, 5, 6)}  # slices; grouped above 8 domains


@pytest.mark.parametrize(
    ("num_domains", "name", "config"),
    [
        (3, "mlp_adp", AdapterConfig.paper()),
        (10, "mlp_adp", AdapterConfig.paper()),
        (10, "mlp_adp", AdapterConfig.best()),
        (3, "dcn_md_adp", AdapterConfig.paper(backbone="domain")),
        (10, "wd_md_adp", AdapterConfig.paper(backbone="domain")),
        (3, "dcn_md_adp", AdapterConfig.paper()),
    ]
    + [(3, name, AdapterConfig.paper()) for name in models.BASELINES]
    + networks.slow(
        [(10, name, AdapterConfig.best()) for name in models.BASELINES]
        + [
            (3, "mlp_adp", AdapterConfig.best()),
            (10, "dcn_md_adp", AdapterConfig.paper(backbone="domain")),
            (3, "wd_md_adp", AdapterConfig.paper(backbone="domain")),
            (10, "dcn_md_adp", AdapterConfig.paper()),
        ]
    ),
)
def test_quotas_and_selection_agree(num_domains, name, config):
    quotas = QUOTAS[num_domains]
    batch = networks.make_batch(networks.sorted_domains(*quotas))
    batch["weight"][::7] = 0.0
    model = networks.randomise(networks.make_model(name, config, num_domains))
    scores = [networks.logits(model, batch, quotas=mode) for mode in (quotas, None)]
    np.testing.assert_allclose(*scores, atol=1e-5, rtol=1e-5)
    by_selection = after_a_pass(model, batch, None)
    for key, values in after_a_pass(model, batch, quotas).items():
        np.testing.assert_allclose(values, by_selection[key], atol=1e-5, rtol=1e-5, err_msg=key)


@pytest.mark.parametrize(
    ("name", "preset", "quotas"),
    [
        (name, *form)
        for name in networks.ADAPTED
        for form in (
            (AdapterConfig.paper, (9, 3, 10)),
            (AdapterConfig.official, None),
            (AdapterConfig.best, (9, 3, 10)),
        )
    ]
    + [(name, AdapterConfig.paper, (9, 3, 10)) for name in models.BASELINES],
)
def test_fillers_change_nothing(name, preset, quotas):
    """Rows of weight 0 in every domain: same loss, gradients and running statistics."""
    batch = networks.make_batch(networks.sorted_domains(*(quotas or (9, 3, 10))))
    rows = np.r_[0:9, 0, 1, 9:12, 9, 12:22, 14, 14, 14]
    filled = rows_of(batch, rows)
    filled["weight"] = np.r_[np.ones(9), 0, 0, np.ones(3), 0, np.ones(10), 0, 0, 0].astype(
        np.float32
    )
    filled["dense"] = np.where(filled["weight"][:, None] > 0, filled["dense"], np.float32(0.9))
    model = networks.randomise(networks.make_model(name, preset()))
    found = after_a_pass(model, filled, quotas and (11, 4, 13))
    for key, values in after_a_pass(model, batch, quotas).items():
        atol = 1e-5 if key.startswith("d ") else 1e-6
        np.testing.assert_allclose(found[key], values, atol=atol, err_msg=key)


def test_switches_are_values():
    """Two models from one configuration are alike; a caller's list is copied, never changed."""
    hyper_dims = [9, 8]
    config = AdapterConfig.paper(hyper_dims=hyper_dims)
    first, second = (networks.make_model("mlp_adp", config) for _ in range(2))
    assert hyper_dims == [9, 8]
    assert config.hyper_dims == (9, 8)
    shapes = [[(p.name, p.shape) for p in m.get_parameters()] for m in (first, second)]
    assert shapes[0] == shapes[1]
    hyper_dims.append(3)
    assert config.hyper_dims == (9, 8)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.rank = 3
