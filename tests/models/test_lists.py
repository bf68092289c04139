"""Models on schemas with lists: the laws of batches, training, prediction, MindIR, the oracle."""

import dataclasses

import numpy as np
import pytest

from hamur import training
from hamur.data.multi_valued import MultiValued, padded
from hamur.data.schema import FieldSpec
from hamur.data.table import Table
from hamur.layers import AdapterConfig
from tests.support import networks, oracle
from tests.support.networks import logits, rows_of

LISTS = (FieldSpec("tags", "multi", 8, 4), FieldSpec("words", "multi", 5, 3))
SCHEMA = networks.make_schema()
SCHEMA = dataclasses.replace(SCHEMA, fields=(*SCHEMA.fields[:3], *LISTS, *SCHEMA.fields[3:]))
COLUMNS = ("sparse", "dense", "domain", "multi_ids", "multi_weight")


def make_model(name, preset=AdapterConfig.paper):
    return networks.randomise(networks.make_model(name, preset(), schema=SCHEMA))


def make_table(rows, seed) -> Table:
    rng = np.random.default_rng(seed)
    batch = networks.make_batch(rng.integers(0, 3, rows), seed)
    lists = []
    for spec in LISTS:
        offsets = np.concatenate(([0], np.cumsum(rng.integers(1, spec.max_len + 1, rows))))
        ids = rng.integers(0, spec.vocab_size, offsets[-1]).astype(np.int32)
        values = rng.uniform(0.5, 2.0, len(ids)).astype(np.float32)
        lists.append(MultiValued(ids, values, offsets, spec.max_len, weighted=True))
    table = networks.table_of(batch)
    return dataclasses.replace(table, weight=None, multi_valued=tuple(lists))


def make_batch(rows, seed, table=None) -> dict[str, np.ndarray]:
    table = make_table(rows, seed) if table is None else table
    batch = {name: getattr(table, name) for name in ("sparse", "dense", "domain")}
    batch |= {"weight": np.ones(rows, np.float32), "labels": table.labels[:, 0]}
    return batch | padded(table.multi_valued, np.arange(rows))


@pytest.mark.parametrize("name", ["mlp_adp", "wd_md"])
def test_score_ignores_the_rest_of_the_batch_and_the_fill_of_the_lists(name):
    model, batch = make_model(name), make_batch(57, 3)
    whole = logits(model, batch)
    for row in (0, 17, 56):
        np.testing.assert_allclose(logits(model, rows_of(batch, [row])), whole[[row]], atol=1e-5)
    order = np.argsort(batch["domain"], kind="stable")
    quotas = tuple(np.bincount(batch["domain"]).tolist())
    sliced = logits(model, rows_of(batch, order), quotas=quotas)
    np.testing.assert_allclose(sliced, whole[order], atol=1e-5)
    filled = np.where(batch["multi_weight"] > 0, batch["multi_ids"], 2)
    refilled = logits(model, batch | {"multi_ids": filled.astype(np.int32)})
    np.testing.assert_array_equal(refilled, whole)


def test_loss_and_gradients_equal_one_id_fields_where_lists_hold_one_id():
    """Lists of one entry are sparse fields: the same network, the same table, the same gradient."""
    rows, model = 30, make_model("dcn_md_adp")
    batch = make_batch(rows, 4)
    ids = np.stack([batch["multi_ids"][:, 0], batch["multi_ids"][:, 4]], axis=1)
    for column, (value, fill) in {
        "multi_ids": (ids, 0),
        "multi_weight": (np.full((rows, 2), 1.7), 0),
    }.items():
        content = np.full((rows, 7), fill, batch[column].dtype)
        content[:, [0, 4]] = value
        batch[column] = content
    plain = [dataclasses.replace(spec, kind="sparse", max_len=0) for spec in LISTS]
    fields = (*SCHEMA.fields[:3], *plain, *SCHEMA.fields[5:])
    schema = dataclasses.replace(SCHEMA, fields=fields)
    single = networks.make_model("dcn_md_adp", AdapterConfig.paper(), schema=schema)
    networks.restore(single, networks.arrays(model))
    loss, gradients = networks.loss_and_gradients(model, batch)
    joined = batch | {"sparse": np.concatenate([batch["sparse"], ids], axis=1).astype(np.int32)}
    expected, slopes = networks.loss_and_gradients(single, joined)
    assert loss == pytest.approx(expected, abs=1e-6)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, slopes[name], atol=1e-5, err_msg=name)


def test_training_moves_the_lists_and_prediction_and_mindir_agree(tmp_path):
    model, train, test = make_model("wd_md"), make_table(90, 1), make_table(41, 2)
    first = sum(SCHEMA.vocab_sizes)
    before = model.embedding.table.asnumpy()[first:].copy()
    training.Trainer(training.supervised_step, batch_size=32, quiet=True).fit(model, train, test)
    assert np.abs(model.embedding.table.asnumpy()[first:] - before).max(axis=1).min() > 1e-4
    scores = training.predict(model, test)
    batch = make_batch(41, 2, test)
    np.testing.assert_allclose(scores, oracle.sigmoid(logits(model, batch)), atol=1e-6)
    served = training.load_mindir(training.export_mindir(model, tmp_path / "lists"))
    for rows in (1, 41):
        own = [batch[name][:rows] for name in COLUMNS]
        np.testing.assert_allclose(served(*own), scores[:rows], atol=1e-6)
    unknown = None
    for place, size in ((0, 8), (4, 5)):
        ids = own[3].copy()
        for value in (0, size, size + 1, -1, 2**31 - 1):
            ids[7, place] = value
            found = served(*own[:3], ids, own[4])
            unknown = found if value == 0 else unknown
            np.testing.assert_array_equal(found, unknown)
