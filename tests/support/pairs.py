"""Tiny pairs for the tests of bi-level training."""

from dataclasses import replace

import numpy as np
from mindspore import Tensor

from hamur.commands.cross_domain import build_model, make_trainer, row_rules
from hamur.commands.cross_domain_config import TUNING, CrossDomainConfig
from hamur.data.cross_domain import Interactions
from hamur.data.cross_domain.collate import VALID, CrossDomainRows
from hamur.data.cross_domain.join import JoinRules, join_pair
from hamur.data.encode import Codes
from hamur.data.table import Table
from hamur.training.loop import TrainingLoop
from hamur.training.trainer import Run


def interactions(name, user, item, category, rating, time):
    """Rows from plain integer columns; category is of the item."""

    def codes(values):
        found, code = np.unique(values, return_inverse=True)
        return Codes(code.astype(np.int32), np.char.add("n", np.char.zfill(found.astype(str), 4)))

    items = codes(item)
    of_item = np.array(
        [category[np.flatnonzero(items.codes == c)[0]] for c in range(items.codes.max() + 1)]
    )
    rows = np.arange(len(user))
    return Interactions(
        name, codes(user), items, codes(of_item), rows, np.asarray(rating, np.float32),
        np.asarray(time, np.int64),
    )  # fmt: skip


def random_pair(seed, users=12, items=(9, 14), most=(9, 12), days=20, **joined):
    """A pair with ties in time, users of few rows, and items of both labels."""
    rng = np.random.default_rng(seed)
    domains = []
    for name, number, top in (("Target", items[0], most[0]), ("Source", items[1], most[1])):
        counts = rng.integers(1, top, users)
        user = np.repeat(np.arange(100, 100 + users), counts)
        item = rng.integers(0, number, len(user))
        rating = rng.integers(1, 6, len(user))
        time = 10**9 + 86_400 * rng.integers(0, days, len(user))
        domains.append(interactions(name, user, item, item % 3, rating, time))
    return join_pair(domains[1], domains[0], JoinRules(**joined))


def with_flipped_label(pair, part, row):
    """The pair with the other label in one row of "source" or of a part of the target."""
    table = pair.source if part == "source" else getattr(pair.target, part)
    labels = table.labels.copy()
    labels[row] = 1 - labels[row]
    table = Table(**{**table.columns(), "labels": labels})
    if part == "source":
        return replace(pair, source=table)
    return replace(pair, target=pair.target._replace(**{part: table}))


def options(tuning=None, **changes):
    """A resolved configuration of small sizes; tuning: values that have no flag."""
    values = dict(
        embed_dim=4, s_hislen=6, batch_size=8, meta_batchsize=8, upper_batchsize=8, interval=3,
        head_rows=16, epochs=2, bootstrap=20, rank_negatives=3, eval_draws="2", test_batchsize=16,
        seed=1, skip_self_test=True, descent_step=2, quiet=True,
    )  # fmt: skip

    class Tuned(CrossDomainConfig):
        @property
        def tuning(self):
            return TUNING[self.preset] | (tuning or {})

    return Tuned(**{**values, **changes}).resolved()


class Levels(TrainingLoop):
    """Both levels on a pair: a training that a test may step through.

    rows, candidates (of validation), config; phi: its parameters; upper: the upper level.
    """

    def __init__(self, pair, harmful=None, save_dir=None, tuning=None, **changes):
        self.config = options(tuning, **changes)
        self.rows = CrossDomainRows(pair, row_rules(self.config), harmful)
        draws = int(self.config.eval_draws)
        seed = self.config.eval_seed
        self.candidates = self.rows.candidates(pair.target.valid, draws, seed, VALID)
        bilevel = self.config.bilevel_options()
        trainer = make_trainer(self.config, self.rows, bilevel, save_dir)
        model = build_model(self.config, self.rows.sizes)
        super().__init__(trainer, model, self.rows, self.candidates, Run(), lambda: None)

    @property
    def upper(self):
        return self.step.upper

    @property
    def phi(self):
        return list(self.model.phi)

    def batch(self, epoch=1):
        """The first batch of an epoch."""
        return next(self.batches.epoch(epoch))

    def train(self, steps):
        """The trainable parameters by name after that many steps from step 0."""
        epoch = number = 0
        while number < steps:
            epoch += 1
            for batch in self.batches.epoch(epoch):
                self.step(batch, self.config.learning_rate, number)
                number += 1
                if number == steps:
                    break
        return {p.name: p.asnumpy().copy() for p in self.model.trainable_params()}


def set_uniform(model):
    """gamma_1 = 0: every source behaviour weighs e m / n exactly."""
    for parameter in model.phi:
        if parameter.name in ("phi.item_weight", "phi.item_bias", "phi.category_bias"):
            parameter.set_data(Tensor(np.zeros(parameter.shape, np.float32)))


def random_phi(model):
    rng = np.random.default_rng(0)
    for parameter in model.phi:
        value = rng.standard_normal(parameter.shape)
        parameter.set_data(Tensor(value.astype(np.float32)))
