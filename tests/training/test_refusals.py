"""What cannot be trained is refused before the first step, in words that name place and value."""

import dataclasses

import numpy as np
import pytest

from hamur import training
from hamur.training.checkpoint import snapshot
from tests.conftest import make_tiny_schema, tiny_table
from tests.support.runs import Drift, assert_equal_arrays, make_model, make_trainer, no_step

pytestmark = pytest.mark.usefixtures("uncompiled")


def changed(table, column, row, value, place=0):
    array = getattr(table, column).copy()
    array[(row, place) if array.ndim > 1 else row] = value
    return dataclasses.replace(table, **{column: array})


def one_class(table):
    return dataclasses.replace(table, labels=np.ones_like(table.labels))


def empty(table):
    return table.take(np.arange(0))


TRAIN = {
    "empty": (empty, "training split has no rows"),
    "one row": (lambda t: t.take(np.arange(1)), "batch norm needs at least 2"),
    "NaN": (lambda t: changed(t, "dense", 7, np.nan, 1), "row 7, column 'price'.*nan.*finite"),
    "id": (lambda t: changed(t, "sparse", 9, 11), "row 9, column 'user'.*got 11.*id 0..10"),
    "domain -1": (lambda t: changed(t, "domain", 4, -1), "row 4, column 'domain'.*-1.*0..2"),
    "domain D": (lambda t: changed(t, "domain", 4, 3), "row 4, column 'domain'.*got 3.*0..2"),
    "label": (lambda t: changed(t, "labels", 2, 0.5), "row 2, column 'like'.*0.5.*0 or 1"),
}
VALID = {
    "empty": (empty, "validation split has no rows"),
    "one class": (one_class, "'auc' is undefined on the validation split: one class"),
    "NaN": TRAIN["NaN"],
    "domain D": TRAIN["domain D"],
}


def assert_refused(model, train, valid, text, **options):
    before = snapshot(model)
    with pytest.raises(ValueError, match=text):
        make_trainer(no_step, **options).fit(model, train, valid)
    assert_equal_arrays(snapshot(model), before)


@pytest.mark.parametrize("case", list(TRAIN))
def test_training_rows(case, tiny_schema, tiny_splits):
    spoil, text = TRAIN[case]
    model = make_model("mlp_adp", tiny_schema)
    assert_refused(model, spoil(tiny_splits.train), tiny_splits.valid, text)


@pytest.mark.parametrize("case", list(VALID))
def test_validation_rows(case, tiny_schema, tiny_splits):
    spoil, text = VALID[case]
    model = make_model("mlp_adp", tiny_schema)
    assert_refused(model, tiny_splits.train, spoil(tiny_splits.valid), text)


@pytest.mark.parametrize("criterion", ["macro_auc", "worst_auc"])
def test_validation_with_one_class_in_every_domain(criterion, tiny_schema, tiny_splits):
    """The pooled AUC is defined here, those of the domains are not."""
    valid = tiny_splits.valid
    valid = dataclasses.replace(valid, labels=(valid.domain == 1)[:, None].astype(np.float32))
    text = f"'{criterion}' is undefined on the validation split: one class in every domain"
    model = make_model("mlp_adp", tiny_schema)
    assert_refused(model, tiny_splits.train, valid, text, criterion=criterion)


def test_a_last_shuffled_batch_of_one_row(tiny_schema, tiny_splits):
    model = make_model("mlp", tiny_schema, "official")
    train = tiny_splits.train.take(np.arange(129))
    assert_refused(
        model, train, tiny_splits.valid, "129 training rows by `batch_size=64` would hold 1"
    )


def other_schema(schema):
    """The same fields with a fourth domain."""
    fields = [
        dataclasses.replace(f, vocab_size=4) if f.name == "domain" else f for f in schema.fields
    ]
    return dataclasses.replace(schema, fields=tuple(fields), domain_names=(*"abcd",))


NETWORK, OPTIONS = "belongs to another model", "cannot resume {}: it had"
FOUR_DOMAINS = dict(schema=other_schema(make_tiny_schema()))
OTHERS = {
    "model": (dict(name="dcn_md_adp"), {}, NETWORK),
    "preset": (dict(preset="best", up_bias=True), {}, NETWORK),
    "domains": (FOUR_DOMAINS, {}, "model, preset or number of domains"),
    "seed": ({}, dict(seed=1), OPTIONS),
    "batch size": ({}, dict(batch_size=32), OPTIONS),
    "learning rate": ({}, dict(learning_rate=0.5), OPTIONS),
}


@pytest.fixture(scope="module")
def finished(tiny_schema, tiny_splits, tmp_path_factory):
    """The folder of a run of one epoch."""
    folder = str(tmp_path_factory.mktemp("finished"))
    trainer = make_trainer(Drift(), epochs=1, save_dir=folder)
    trainer.fit(make_model("mlp_adp", tiny_schema), *tiny_splits[:2])
    return folder


@pytest.mark.parametrize("case", list(OTHERS))
def test_resuming_another_run(case, tiny_schema, tiny_splits, finished):
    network, options, text = OTHERS[case]
    model = make_model(**{"name": "mlp_adp", "schema": tiny_schema, **network})
    options = dict(epochs=2, save_dir=finished, resume=True) | options
    assert_refused(model, *tiny_splits[:2], text.format(finished), **options)


@pytest.mark.parametrize(
    "option",
    [
        dict(epochs=0),
        dict(batch_size=0),
        dict(patience=0),
        dict(learning_rate=0.0),
        dict(weight_decay=-1e-5),
        dict(embedding_decay=-1.0),
        dict(averaging=1.0),
        dict(criterion="f1"),
        dict(resume=True),
    ],
    ids=lambda option: next(iter(option)),
)
def test_options_out_of_range(option):
    with pytest.raises(ValueError, match=f"Trainer.{next(iter(option))}"):
        make_trainer(no_step, **option)


@pytest.mark.parametrize("case", ["NaN", "id", "domain -1", "domain D"])
def test_rows_to_predict(case, tiny_schema):
    spoil, text = TRAIN[case]
    with pytest.raises(ValueError, match=text):
        training.predict(make_model("mlp", tiny_schema), spoil(tiny_table(tiny_schema, 20, 3)))
