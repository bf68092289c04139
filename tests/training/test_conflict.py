"""What domains are for: two domains that disagree about every item (Acceptance 11).

A model that may not see the domain cannot know whether an item is liked; every adapter model must
beat it by 0.05 of AUC in both domains.
"""

import numpy as np
import pytest

from hamur import metrics, models, training
from hamur.data.synthetic.conflict import make_conflict
from hamur.data.synthetic.signals import expected_auc
from hamur.data.table import drop_fields
from hamur.layers import AdapterConfig

ADAPTED = ("mlp_adp", "dcn_md_adp", "wd_md_adp")
MARGIN = 0.05


def domain_auc(model, splits, seed):
    """Test AUC in each domain after training."""
    options = dict(batch_size=256, epochs=30, patience=4, learning_rate=3e-3)
    trainer = training.Trainer(training.supervised_step, seed=seed, quiet=True, **options)
    trainer.fit(model, splits.train, splits.valid)
    probabilities = training.predict(model, splits.test)
    labels, domain = splits.test.labels[:, 0], splits.test.domain
    report = metrics.by_group(labels, probabilities, domain, 2)
    return np.array([report["domains"][d]["auc"] for d in "01"])


def blind_auc(splits, schema, seed):
    """One plain MLP for all rows, which has no domain field."""
    splits, schema = drop_fields(splits, schema, [schema.domain_field])
    config = AdapterConfig.paper(backbone="shared")
    model = models.RANKING["mlp"](schema, config=config, seed=seed)
    return domain_auc(model, splits, seed)


def test_the_generated_domains_disagree_and_can_be_learnt():
    splits, schema, truth = make_conflict(8_000, seed=3)
    for table, known in zip(splits, truth):
        table.validate(schema)
        np.testing.assert_array_equal(table.labels[:, 0], known.labels)
        assert abs(np.bincount(table.domain) - len(table) / 2).max() < 0.06 * len(table)
        for d in (0, 1):
            assert expected_auc(known.probability[table.domain == d]) >= 0.75
        blind = known.blind
        assert metrics.auc(known.labels, blind) < expected_auc(known.probability) - 0.1
    train = splits.train
    rows = sum(np.bincount(table.domain) for table in splits)
    np.testing.assert_array_equal(rows, [4_000, 4_000])
    rates = np.array(
        [
            [
                train.labels[(train.sparse[:, 0] == item) & (train.domain == d)].mean()
                for d in (0, 1)
            ]
            for item in range(1, 41)
        ]
    )
    assert np.corrcoef(rates.T)[0, 1] < -0.8  # liked here, disliked there


def test_equal_seeds_give_equal_tables_and_other_seeds_others():
    first, again, other = (make_conflict(400, seed)[0].train for seed in (1, 1, 2))
    for name, column in first.columns().items():
        np.testing.assert_array_equal(column, again.columns()[name])
    assert not np.array_equal(first.sparse, other.sparse)


def test_hiding_the_domain_removes_the_field_only():
    splits, schema, _ = make_conflict(400)
    blind, blind_schema = drop_fields(splits, schema, [schema.domain_field])
    assert blind_schema.sparse_names == ("item", "user") and blind_schema.domain_field is None
    assert blind_schema.num_domains == 2
    blind.train.validate(blind_schema)
    np.testing.assert_array_equal(blind.train.sparse, splits.train.sparse[:, :2])
    np.testing.assert_array_equal(blind.train.domain, splits.train.domain)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_adapter_models_beat_the_domain_blind_one(seed):
    splits, schema, _ = make_conflict(8_000, seed)
    blind = blind_auc(splits, schema, seed)
    for name in ADAPTED:
        model = models.RANKING[name](schema, preset="paper", seed=seed)
        found = domain_auc(model, splits, seed)
        print(f"seed {seed}  {name} {found.round(4)}  domain-blind {blind.round(4)}")
        assert (found - blind).min() >= MARGIN, (name, found, blind)
