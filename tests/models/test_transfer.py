"""The weights of a trained model in one of a schema that continues its own."""

import dataclasses

import numpy as np
import pytest

from hamur import models, training
from hamur.data.schema import SPARSE
from hamur.data.table import Table
from hamur.models.transfer import continued, continued_state, new_parts
from hamur.training.checkpoint import RunFiles, load_state, restore, snapshot
from hamur.training.partial import train_only
from tests.conftest import make_tiny_schema
from tests.support import networks

SIZES = dict(embed_dim=4, hidden_dims=(10, 6))
OLD = make_tiny_schema()
D = OLD.num_domains
EXPERT_PER_DOMAIN = {"mmoe", "m3oe"}
# A table of towers, of domains' own embeddings, an expert per domain; the rest have one of these.
QUICK = ("mlp_adp", "single_domain", "mmoe")


def with_slow(names, quick):
    """The names, those that are not quick marked as slow."""
    return [pytest.param(n, marks=[pytest.mark.slow] * (n not in quick), id=n) for n in names]


def grown(schema, ids=2, domains=1):
    """The schema with more ids in its first sparse field, and more domains."""
    names = (*schema.domain_names, *(f"new {n}" for n in range(domains)))
    fields = list(schema.fields)
    fields[0] = dataclasses.replace(fields[0], vocab_size=fields[0].vocab_size + ids)
    for number, spec in enumerate(fields):
        if spec.name == schema.domain_field:
            fields[number] = dataclasses.replace(spec, vocab_size=len(names))
    return dataclasses.replace(schema, fields=tuple(fields), domain_names=names)


def table_of(schema, rows=60, seed=0):
    rng = np.random.default_rng(seed)
    domain = rng.integers(0, schema.num_domains, rows).astype(np.int32)
    sparse = np.stack([rng.integers(0, size, rows) for size in schema.vocab_sizes], 1)
    if schema.domain_field is not None:
        sparse[:, schema.sparse_names.index(schema.domain_field)] = domain
    return Table(
        sparse=sparse.astype(np.int32),
        dense=rng.random((rows, schema.num_dense), np.float32),
        labels=rng.integers(0, 2, (rows, 1)).astype(np.int8),
        domain=domain,
        row_id=np.arange(rows),
    )


def pair_of(name, schema=None, **options):
    """A model of the tiny schema with random weights and statistics, and one that continues it."""
    old = networks.randomise(models.RANKING[name](OLD, **SIZES))
    new = models.RANKING[name](schema or grown(OLD), seed=3, **SIZES)
    restore(new, continued(snapshot(old), OLD, new, **options))
    return old, new


@pytest.mark.parametrize("name", with_slow(models.RANKING, QUICK))
def test_old_rows_keep_their_scores(name):
    """Those of known ids and domains; a new id has the mean of its field."""
    schema = grown(OLD, domains=name not in EXPERT_PER_DOMAIN)
    old, new = pair_of(name, schema)
    rows = table_of(OLD)
    scores = [training.predict(model, rows) for model in (old, new)]
    np.testing.assert_array_equal(*scores)


def test_what_is_new_is_a_mean_or_like_another_or_fresh():
    old, new = pair_of("mlp_adp")
    _, like = pair_of("mlp_adp", like=OLD.domain_names[1])
    _, fresh = pair_of("mlp_adp", fresh=True)
    had, means, likes, own = map(snapshot, (old, new, like, fresh))
    start = snapshot(models.RANKING["mlp_adp"](grown(OLD), seed=3, **SIZES))
    for name in ("tower.blocks.0.dense.weight", "adapter.adapter_cells.0.norm.variance"):
        np.testing.assert_array_equal(means[name][D], had[name].mean(axis=0))
        np.testing.assert_array_equal(likes[name][D], had[name][1])
    size, table = OLD.vocab_sizes[0], "embedding.table"
    mean = had[table][1:size].mean(axis=0, dtype=np.float64).astype(np.float32)
    np.testing.assert_array_equal(means[table][size : size + 2], [mean] * 2)
    np.testing.assert_array_equal(own[table][size : size + 2], start[table][size : size + 2])
    np.testing.assert_array_equal(own[table][:size], had[table][:size])


def state_of(folder):
    """That of the optimiser after a training."""
    return load_state(RunFiles.of(folder).last)[0]["optimizer"]


def test_the_optimizer_goes_on(tmp_path):
    """Its moments grow as the parameters do, and the first step starts from them."""
    rows, trainer = table_of(OLD), training.Trainer(training.supervised_step, quiet=True)
    old = models.RANKING["mlp_adp"](OLD, **SIZES)
    dataclasses.replace(trainer, save_dir=tmp_path / "old", epochs=3).fit(old, rows, rows)
    had = state_of(tmp_path / "old")
    new = models.RANKING["mlp_adp"](grown(OLD), **SIZES)
    begun = continued_state(had, OLD, new)
    size, table = OLD.vocab_sizes[0], "adam_second.embedding.table"
    assert had.keys() == begun.keys()
    np.testing.assert_array_equal(begun[table][:size], had[table][:size])
    mean = had[table][1:size].mean(axis=0, dtype=np.float64).astype(np.float32)
    np.testing.assert_array_equal(begun[table][size : size + 2], [mean] * 2)
    name = "adam_first.tower.blocks.0.dense.weight"
    np.testing.assert_array_equal(begun[name][D], had[name].mean(axis=0))

    rows, start, ended = table_of(grown(OLD)), snapshot(new), {}
    for folder, state in (("with", begun), ("without", {}), ("lacking", {name: begun[name]})):
        restore(new, start)
        one = dataclasses.replace(trainer, save_dir=tmp_path / folder)
        one.fit(new, rows, rows, optimizer_state=state)
        ended[folder] = state_of(tmp_path / folder)
    assert ended["with"]["beta1_power"] == pytest.approx(0.9**4)
    for name, array in begun.items():
        if name.startswith("adam_"):  # the gradients of the only step are equal
            rate = 0.9 if name.startswith("adam_first") else 0.999
            more = ended["with"][name] - ended["without"][name]
            np.testing.assert_allclose(more, rate * array, rtol=1e-4, atol=1e-6, err_msg=name)
    for name, array in ended["without"].items():
        np.testing.assert_array_equal(ended["lacking"][name], array)


def test_another_model_is_told():
    weights = snapshot(models.RANKING["mlp"](OLD, **SIZES))

    def refused(name, words, schema=None, like=None, **sizes):
        model = models.RANKING[name](schema or grown(OLD), **(SIZES | sizes))
        with pytest.raises(ValueError, match=words):
            continued(weights, OLD, model, like)

    refused("mlp_adp", "another model: it lacks 'adapter")
    refused("mlp", "another model: 'embedding.table' is|has shape", embed_dim=5)
    refused("mlp", "another model or preset", hidden_dims=(9, 6))
    refused("mlp", "`like=Mars`: known are", like="Mars")
    names = ("x", *OLD.domain_names[1:])
    fewer = dataclasses.replace(OLD, domain_names=names)
    refused("mlp", "do not begin with those of the earlier run", fewer)
    weights = snapshot(models.RANKING["mmoe"](OLD, **SIZES))
    refused("mmoe", "whose shared layers grow with the domains")


@pytest.mark.parametrize("only", ["domain", "adapter"])
@pytest.mark.parametrize("name", with_slow(["mlp_adp", "dcn_md_adp", "star", "wd_md"], QUICK))
def test_scores_of_old_domains_stay_when_new_parts_train(name, only):
    old, new = pair_of(name)
    parts = new_parts(snapshot(old), OLD, new)
    if only == "adapter":
        parts = {n: part for n, part in parts.items() if n.startswith("adapter.")}
        if not parts:
            with pytest.raises(ValueError, match="it has no such parameters"):
                train_only(new, parts)
            return
    schema, before = new.schema, snapshot(new)
    rows = table_of(schema, 400)
    rows = rows.take(np.flatnonzero(rows.domain == D))
    step = train_only(new, parts)(training.supervised_step)
    trainer = training.Trainer(
        step, epochs=3, batch_size=32, learning_rate=0.05, averaging=0.9, weight_decay=1e-2,
        quiet=True,
    )  # fmt: skip
    trainer.fit(new, rows, rows)
    after = snapshot(new)
    for parameter, array in before.items():
        part = parts.get(parameter, np.zeros(array.shape, bool))
        np.testing.assert_array_equal(after[parameter][~part], array[~part], err_msg=parameter)
    moved = [parameter for parameter in parts if (after[parameter] != before[parameter]).any()]
    assert len(moved) >= 0.8 * len(parts)
    known = table_of(OLD)
    np.testing.assert_array_equal(training.predict(new, known), training.predict(old, known))


def test_new_parts_are_those_of_the_new_domain():
    old, new = pair_of("dcn_md")
    parts = new_parts(snapshot(old), OLD, new)
    assert set(parts) == {"embedding.table"}
    place = [spec.name for spec in OLD.fields if spec.kind == SPARSE].index(OLD.domain_field)
    row = sum(new.schema.vocab_sizes[:place]) + D
    assert np.flatnonzero(parts["embedding.table"].any(axis=1)).tolist() == [row]
