"""Models on schemas with lists: the laws of batches, training, prediction, MindIR, the oracle."""

import dataclasses

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from hamur import models, training
from hamur.data.multi_valued import MultiValued, padded
from hamur.data.schema import FieldSpec
from hamur.data.table import Table
from hamur.layers import AdapterConfig
from hamur.training.supervised import logit_loss
from tests.support import networks, oracle

LISTS = (FieldSpec("tags", "multi", 8, 4), FieldSpec("words", "multi", 5, 3))
SCHEMA = networks.make_schema()
SCHEMA = dataclasses.replace(SCHEMA, fields=(*SCHEMA.fields[:3], *LISTS, *SCHEMA.fields[3:]))
COLUMNS = ("sparse", "dense", "domain", "weight", "multi_ids", "multi_weight")


def make_model(name, preset=AdapterConfig.paper):
    sizes = dataclasses.replace(networks.SIZES, embed_dim=networks.EMBED_DIM)
    base = name.removesuffix("_adp")
    config = dataclasses.replace(preset(), enabled=name != base)
    return networks.randomise(models.BACKBONES[base](SCHEMA, sizes, config, 5))


def make_table(rows, seed) -> Table:
    rng = np.random.default_rng(seed)
    batch = networks.make_batch(rng.integers(0, 3, rows), seed)
    lists = []
    for spec in LISTS:
        offsets = np.concatenate(([0], np.cumsum(rng.integers(1, spec.max_len + 1, rows))))
        ids = rng.integers(0, spec.vocab_size, offsets[-1]).astype(np.int32)
        values = rng.uniform(0.5, 2.0, len(ids)).astype(np.float32)
        lists.append(MultiValued(ids, values, offsets, spec.max_len, weighted=True))
    labels = batch["labels"][:, None]
    return Table(
        batch["sparse"], batch["dense"], labels, batch["domain"], multi_valued=tuple(lists)
    )


def make_batch(rows, seed, table=None) -> dict[str, np.ndarray]:
    table = make_table(rows, seed) if table is None else table
    batch = {name: getattr(table, name) for name in ("sparse", "dense", "domain")}
    batch |= {"weight": np.ones(rows, np.float32), "labels": table.labels[:, 0]}
    return batch | padded(table.multi_valued, np.arange(rows))


def logits(model, batch, quotas=None) -> np.ndarray:
    parts = [Tensor(batch[name]) for name in COLUMNS]
    return model(*parts[:4], quotas, (), *parts[4:]).asnumpy()


def rows_of(batch, index):
    return {name: values[index] for name, values in batch.items()}


@pytest.mark.parametrize("name", ["mlp_adp", "wd_md"])
def test_score_ignores_the_rest_of_the_batch_and_the_fill_of_the_lists(name):
    model, batch = make_model(name), make_batch(57, 3)
    whole = logits(model, batch)
    for row in (0, 17, 56):
        np.testing.assert_allclose(logits(model, rows_of(batch, [row])), whole[[row]], atol=1e-5)
    order = np.argsort(batch["domain"], kind="stable")
    quotas = tuple(np.bincount(batch["domain"]).tolist())
    sliced = logits(model, rows_of(batch, order), quotas)
    np.testing.assert_allclose(sliced, whole[order], atol=1e-5)
    filled = np.where(batch["multi_weight"] > 0, batch["multi_ids"], 2)
    refilled = logits(model, batch | {"multi_ids": filled.astype(np.int32)})
    np.testing.assert_array_equal(refilled, whole)


class Loss(networks.Loss):
    def construct(self, sparse, dense, domain, weight, multi_ids, multi_weight, labels):
        z = self.model(sparse, dense, domain, weight, self.quotas, (), multi_ids, multi_weight)
        return logit_loss(z, labels, weight)


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
    single = models.BACKBONES["dcn_md"](
        dataclasses.replace(SCHEMA, fields=fields), model.sizes, model.config, 5
    )
    networks.restore(single, networks.arrays(model))
    values = [Tensor(batch[name]) for name in (*COLUMNS, "labels")]
    loss = Loss(model)
    loss.set_train()
    value, gradients = ms.value_and_grad(loss, None, model.trainable_params())(*values)
    joined = batch | {"sparse": np.concatenate([batch["sparse"], ids], axis=1).astype(np.int32)}
    expected, slopes = networks.loss_and_gradients(single, joined)
    assert float(value.asnumpy()) == pytest.approx(expected, abs=1e-6)
    for parameter, gradient in zip(model.trainable_params(), gradients):
        np.testing.assert_allclose(
            gradient.asnumpy(),
            slopes[parameter.name],
            atol=1e-5,
            err_msg=parameter.name,
        )


def test_training_moves_the_lists_and_prediction_and_mindir_agree(tmp_path):
    model, train, test = make_model("wd_md"), make_table(90, 1), make_table(41, 2)
    first = sum(SCHEMA.vocab_sizes)
    before = model.embedding.table.asnumpy()[first:].copy()
    training.Trainer(training.supervised_step, batch_size=32, quiet=True).fit(model, train, test)
    assert np.abs(model.embedding.table.asnumpy()[first:] - before).max(axis=1).min() > 1e-4
    scores = training.predict(model, test)
    batch = make_batch(41, 2, test)
    np.testing.assert_allclose(scores, oracle.sigmoid(logits(model, batch)), atol=1e-6)
    served = nn.GraphCell(ms.load(str(training.export_mindir(model, tmp_path / "lists"))))
    for rows in (1, 41):
        own = [Tensor(batch[name][:rows]) for name in COLUMNS if name != "weight"]
        np.testing.assert_allclose(served(*own).asnumpy(), scores[:rows], atol=1e-6)
