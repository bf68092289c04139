"""MindIR of a model: the scores of the model for any number and mixture of rows."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from hamur import training
from hamur.data.table import Table
from hamur.layers import AdapterConfig
from tests.support import networks

CASES = [
    ("mlp_adp", "best"),
    *networks.slow([("mlp_adp", "paper"), ("dcn_md_adp", "paper"), ("wd_md_adp", "paper")]),
]


def table_of(rows, num_domains=3):
    batch = networks.make_batch(np.random.default_rng(rows).integers(0, num_domains, rows), rows)
    return Table(batch["sparse"], batch["dense"], batch["labels"][:, None], batch["domain"])


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_scores_equal_the_models_for_any_batch(name, preset, tmp_path):
    config = getattr(AdapterConfig, preset)(rank=4, hyper_dims=(9,))
    model = networks.randomise(networks.make_model(name, config))
    path = training.export_mindir(model, tmp_path / "serving" / name)
    assert path == tmp_path / "serving" / f"{name}.mindir" and path.exists()
    served = nn.GraphCell(ms.load(str(path)))
    for rows in (1, 3, 100):
        table = table_of(rows)
        found = served(Tensor(table.sparse), Tensor(table.dense), Tensor(table.domain)).asnumpy()
        assert found.shape == (rows,)
        np.testing.assert_allclose(found, training.predict(model, table), atol=1e-6)


def test_an_exported_model_can_go_on_training(tmp_path):
    """Export reads the model in evaluation and leaves it as it was."""
    model = networks.make_model("mlp", AdapterConfig.paper())
    before = networks.arrays(model)
    training.export_mindir(model, tmp_path / "a.mindir")
    for name, values in networks.arrays(model).items():
        np.testing.assert_array_equal(values, before[name])
    run = training.Trainer(training.supervised_step, batch_size=16, quiet=True)
    assert run.fit(model, table_of(60), table_of(61)).epochs == 1


def test_batch_statistics_cannot_be_served(tmp_path):
    model = networks.make_model("mlp_adp", AdapterConfig.official())
    with pytest.raises(ValueError, match=r"cannot be served.*norm_inference='running'"):
        training.export_mindir(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())
