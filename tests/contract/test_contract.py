"""What every model of every family promises: it trains, survives a kill, predicts, is exported.

A model that is new in `hamur.models` is tested here without another line.
"""

import dataclasses
import shutil
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from mindspore import Tensor

from hamur import metrics, models, training
from hamur.commands.cross_domain import build_model, make_trainer, row_rules
from hamur.data.cross_domain.collate import VALID, CrossDomainRows
from hamur.data.synthetic.conflict import make_task_conflict
from hamur.data.table import Table
from hamur.training import loop
from hamur.training.checkpoint import load_state, load_weights, restore, snapshot
from hamur.training.preference.meta import meta_step
from tests.conftest import make_tiny_schema, make_tiny_splits
from tests.support import pairs
from tests.support.runs import assert_equal_arrays

EPOCHS, BATCH_SIZE, KILLED = 2, 150, (0, 3)
TIMES = {"seconds", "rows_per_second"}


class Case(NamedTuple):
    """make(seed) -> model; train and valid are for fit, test for predict; options of the trainer;
    inputs(table) -> columns for the exported graph.  shared: the resumed training uses what the
    first one compiled."""

    make: Callable
    train: object
    valid: object
    test: Table
    options: dict
    inputs: Callable
    shared: bool = True


def ranking(name):
    schema = make_tiny_schema()
    splits = make_tiny_splits(schema)

    def make(seed):
        return models.RANKING[name](schema, seed=seed, embed_dim=4, hidden_dims=(10, 6))

    options = dict(step=training.supervised_step, averaging=0.9)
    return Case(make, *splits, options, lambda t: (t.sparse, t.dense, t.domain))


def multi_task(name):
    splits, schema, _ = make_task_conflict(750, seed=3)
    sizes = dict(embed_dim=4, num_experts=2, expert_dims=(6, 5), tower_dims=(5, 3))
    entropy = metrics.label_entropy(splits.train.labels)
    steps = -(-len(splits.train) // BATCH_SIZE)
    rule = "smooth_tchebycheff" if name == "pomoe" else "linear"  # its step has a state
    preferences = training.PreferenceOptions(tuple(entropy), EPOCHS * steps, rule, number=3)
    step = partial(training.preference_step, options=preferences)
    if name == "metaheac":
        step = partial(meta_step, steps_per_epoch=steps)
    even = np.full((1, 2), 0.5, np.float32)
    evaluation = partial(training.TaskEvaluation, preferences=even, entropy=entropy)
    options = dict(step=step, evaluation=evaluation, criterion="negative_loss")

    def make(seed):
        return models.MULTI_TASK[name](schema, seed=seed, **sizes)

    # The same compiled second derivatives may differ in the last bit from call to call.
    return Case(make, *splits, options, lambda t: (t.sparse, t.dense), name != "metaheac")


def cross_domain(name):
    pair = pairs.random_pair(2, users=60)
    config = pairs.options(model_name=name, batch_size=40)
    rows = CrossDomainRows(pair, row_rules(config))
    valid, test = (rows.candidates(part, 1, 0, VALID) for part in pair.target[1:])
    trainer = make_trainer(config, rows, config.bilevel_options())
    options = {name: value for name, value in vars(trainer).items() if name != "save_dir"}

    def make(seed):
        return build_model(config, rows.sizes, restart=seed)

    _, table = test.pairs(make(0).schema.num_sparse)
    return Case(make, rows, valid, table, options, lambda t: np.ascontiguousarray(t.sparse.T))


FAMILIES = {
    ranking: models.RANKING,
    multi_task: models.MULTI_TASK,
    cross_domain: models.CROSS_DOMAIN,
}
# The code of dcn_md, wd_md, singletask and omoe is that of others; metaheac compiles long; of the
# models of others, those with a state of their own or a kernel stand for the rest.
SLOW = {
    ranking: set(models.RANKING)
    - {"mlp", "mlp_adp", "dcn_md_adp", "wd_md_adp", "single_domain"}
    - {"star", "m2m", "adasparse", "adaptdhm"},
    multi_task: {"singletask", "omoe", "metaheac"},
    cross_domain: set(),
}
PARAMS = [
    pytest.param((family, name), id=name, marks=[pytest.mark.slow] * (name in SLOW[family]))
    for family, names in FAMILIES.items()
    for name in names
]


def once(make):
    """make, but every call gives what the first one made: a training that shares it with an
    earlier one compiles nothing."""
    made = []

    def again(*arguments, **options):
        if not made:
            made.append(make(*arguments, **options))
        return made[0]

    return again


def copying(step, folder, copies):
    """The step, but before some steps the folder is copied: what a kill leaves on disk.

    copies: {number of the step: the copy}."""

    def make(*arguments):
        inner = step(*arguments)

        def watched(batch, rate, count):
            if count in copies and not copies[count].exists():
                shutil.copytree(folder, copies[count])
            return inner(batch, rate, count)

        for name in ("state", "counters"):
            if hasattr(inner, name):
                setattr(watched, name, getattr(inner, name))
        return watched

    return make


def scramble(state):
    """Overwrite parameters, or an object with arrays() and load(arrays)."""
    if hasattr(state, "load"):
        state.load({name: np.zeros_like(array) for name, array in state.arrays().items()})
        return
    for parameter in state:
        parameter.set_data(Tensor(np.full(parameter.shape, 7, parameter.asnumpy().dtype)))


def timeless(run):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in run.history]


class Trained:
    """A model after two epochs with a state before every step, and copies of its folder: `killed`
    {batches of the second epoch that were done: copy}."""

    def __init__(self, case, folder, patch):
        self.case, self.model = case, case.make(seed=5)
        self.whole, self.killed = folder / "whole", {n: folder / f"killed-{n}" for n in KILLED}
        steps = -(-len(case.train) // case.options.get("batch_size", BATCH_SIZE))
        copies = {steps + n: copy for n, copy in self.killed.items()}
        self.step = copying(case.options["step"], self.whole, copies)
        if case.shared:
            self.step = once(self.step)
            patch.setattr(loop, "Adam", once(loop.Adam))
        self.run = self.fit(self.whole)
        self.weights = snapshot(self.model)
        self.scores = training.predict(self.model, case.test)

    def forget(self):
        """Overwrite all that moves, so that only the disk can bring it back."""
        if not self.case.shared:
            self.model = self.case.make(seed=6)
            return
        step = self.step()
        for state in (self.model.get_parameters(), loop.Adam().state()):
            scramble(state)
        if hasattr(step, "state"):
            scramble(step.state())

    def fit(self, folder, **changes):
        options = dict(epochs=EPOCHS, batch_size=BATCH_SIZE, learning_rate=1e-2, quiet=True)
        options |= self.case.options | dict(step=self.step, checkpoint_minutes=0) | changes
        trainer = training.Trainer(save_dir=str(folder), **options)
        return trainer.fit(self.model, self.case.train, self.case.valid)


@pytest.fixture(scope="module", params=PARAMS)
def trained(request, tmp_path_factory):
    family, name = request.param
    with pytest.MonkeyPatch.context() as patch:
        yield Trained(family(name), tmp_path_factory.mktemp(name), patch)


@pytest.mark.parametrize("batches", KILLED)
def test_a_killed_run_resumes_to_the_same_bits(trained, batches):
    """Between two epochs, and at a batch."""
    folder = trained.killed[batches]
    progress = load_state(folder / "last")[1]
    assert (progress["epoch"], progress["batch"]) == (1, batches)
    trained.forget()
    continued = trained.fit(folder, resume=True)
    assert timeless(continued) == timeless(trained.run)
    assert (continued.best_epoch, continued.best) == (trained.run.best_epoch, trained.run.best)
    assert_equal_arrays(snapshot(trained.model), trained.weights)
    states = [load_state(folder / "last")[0] for folder in (trained.whole, folder)]
    assert states[0].keys() == states[1].keys()
    for part, arrays in states[0].items():
        assert_equal_arrays(states[1][part], arrays)


def test_weights_on_disk_are_those_of_the_best_epoch(trained):
    scramble(trained.model.get_parameters())
    restore(trained.model, load_weights(trained.whole / "model.safetensors"))
    found = training.predict(trained.model, trained.case.test)
    np.testing.assert_array_equal(found, trained.scores)


def test_a_score_depends_on_its_row_alone(trained):
    table, scores = trained.case.test, trained.scores
    assert len(scores) == len(table) and ((scores > 0) & (scores < 1)).all()
    order = np.random.default_rng(0).permutation(len(table))
    permuted = training.predict(trained.model, table.take(order))
    np.testing.assert_allclose(permuted, scores[order], atol=1e-6)
    alone = training.predict(trained.model, table.take([7]))
    assert alone.shape == (1, *scores.shape[1:])
    np.testing.assert_allclose(alone, scores[[7]], atol=1e-6)


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """The paths of both forms of the exported model."""
    path = tmp_path_factory.mktemp("serving") / "new" / "a scorer.mindir"
    as_onnx = path.with_suffix(".onnx")
    assert training.export(trained.model, path, as_onnx) == path
    return path, as_onnx


@pytest.fixture(scope="module", params=["mindir", "onnx"])
def served(request, trained, exported):
    """The exported graph as a function of a table -> probabilities."""
    load = training.load_onnx if request.param == "onnx" else training.load_mindir
    path = exported[request.param == "onnx"]
    scores, inputs = load(path), trained.case.inputs
    preference = ()
    if getattr(trained.model, "takes_preferences", False):
        preference = (np.full(2, 0.5, np.float32),)
    return lambda table: scores(*inputs(table), *preference)


def test_the_exported_graph_gives_the_same_scores(trained, served):
    for rows in (1, 7, 64, 0):
        index = np.arange(rows) % len(trained.scores)
        found = served(trained.case.test.take(index))
        assert found.shape == (rows, *trained.scores.shape[1:])
        np.testing.assert_allclose(found, trained.scores[index], atol=1e-6)
    none = training.predict(trained.model, trained.case.test.take(index))
    assert none.shape == found.shape and none.dtype == trained.scores.dtype


def changed(table, column, place, value):
    """The table with one other value."""
    array = getattr(table, column).copy()
    array[place] = value
    return dataclasses.replace(table, **{column: array})


def test_an_exported_graph_reads_unknown_ids_as_0_and_scores_no_wrong_row(trained, served):
    table, schema = trained.case.test.take(np.arange(5)), trained.model.schema
    for field, size in enumerate(schema.vocab_sizes):
        unknown = served(changed(table, "sparse", (2, field), 0))
        for value in (size, size + 1, -1, 2**31 - 1, -(2**31)):
            found = served(changed(table, "sparse", (2, field), value))
            np.testing.assert_array_equal(found, unknown, err_msg=f"{field} {value}")
    spoilt = [("dense", (2, 0), value) for value in (np.nan, np.inf)] * bool(schema.num_dense)
    if hasattr(trained.model, "num_domains"):
        spoilt += [("domain", 2, value) for value in (schema.num_domains, 9, -1)]
    others = [0, 1, 3, 4]
    for change in spoilt:
        found = served(changed(table, *change))
        assert np.isnan(found[2]).all(), change
        np.testing.assert_allclose(found[others], trained.scores[others], atol=1e-6)
    np.testing.assert_allclose(served(table), trained.scores[:5], atol=1e-6)
