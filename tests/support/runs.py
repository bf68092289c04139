"""What the tests of training share: tiny models of published form, scripted steps and figures."""

from collections.abc import Sequence
from contextlib import contextmanager

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from mindspore.nn.cell import _cell_graph_executor

from hamur import metrics, models, training
from hamur.layers import AdapterConfig
from hamur.training.checkpoint import snapshot

SIZES = dict(rank=4, bottleneck_dim=5, hyper_dims=(9,))


def make_model(name, schema, preset="paper", seed=5, **changes):
    config = getattr(AdapterConfig, preset)(**SIZES, **changes)
    return models.RANKING[name](schema, config=config, seed=seed, embed_dim=3, hidden_dims=(10, 6))


def make_trainer(step=training.supervised_step, **options):
    return training.Trainer(step, **{"batch_size": 64, "quiet": True, **options})


class Drift:
    """A training scheme that adds 1/64 to the output bias a step, and records what it saw."""

    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.numbers = []

    def __call__(self, model, optimizer, quotas, seed):
        bias = model.output.bias

        def step(batch, learning_rate, number):
            if number == self.stop_at:
                raise KeyboardInterrupt
            self.numbers.append(number)
            bias.set_data(Tensor(bias.asnumpy() + np.float32(1 / 64)))
            return Tensor(0.5, ms.float32)

        return step


def no_step(model, optimizer, quotas, seed):
    """A training scheme for trainings that must never start."""

    def step(*_):
        raise AssertionError("a step was made")

    return step


def script_reports(monkeypatch, model, auc: Sequence[float], **figures) -> list[dict]:
    """Validation reports these figures in the epochs 1, 2, ...; returns the weights of each then.

    The first report of a training is the look at the validation labels before it starts.
    """
    real, weights = metrics.by_group, []
    figures = {"macro_auc": auc, "worst_auc": auc, **figures, "auc": auc}

    def by_group(labels, probabilities, domain, num_domains):
        report = real(labels, probabilities, domain, num_domains)
        if np.all(probabilities == 0.5):
            return report
        epoch = len(weights)
        weights.append(snapshot(model))
        return report | {name: values[epoch] for name, values in figures.items()}

    monkeypatch.setattr(metrics, "by_group", by_group)
    return weights


@contextmanager
def compiled_graphs():
    """The class names of the cells that are compiled inside, one a graph."""
    real, names = _cell_graph_executor.compile, []

    def counted(cell, *arguments, **options):
        phase, new = real(cell, *arguments, **options)
        names.extend([type(cell).__name__] if new else [])
        return phase, new

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cell_graph_executor, "compile", counted)
        yield names


def assert_equal_arrays(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
