"""MindIR of CoNet: the scores of the model for any number of rows."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from hamur.data.cross_domain.collate import FieldSizes
from hamur.models.conet import CoNet, CoNetConfig, CoNetS
from hamur.training.bilevel.dev_head import sigmoid
from hamur.training.mindir import export

SIZES = FieldSizes(7, 9, 4, 11, 5)


@pytest.mark.parametrize("kind", [CoNet, CoNetS])
def test_served_scores_are_the_model_s(kind, tmp_path):
    model = kind(SIZES, CoNetConfig(embed_dim=4))
    path = export(model, tmp_path / "serving" / "scorer")
    assert path == tmp_path / "serving" / "scorer.mindir"
    served = nn.GraphCell(ms.load(str(path)))
    rng = np.random.default_rng(0)
    for rows in (1, 6):
        ids = np.stack([rng.integers(0, size, rows) for size in SIZES]).astype(np.int32)
        ids[:, 0] = 0  # all unknown
        shifted = ids + SIZES.offsets[:, None]
        towers = ((0, 3, 4), (0, 1, 2)) if model.towers == 2 else ((0, 1, 2),)
        joined = np.stack([shifted[list(fields)].T for fields in towers])
        known = np.stack([ids[list(fields)].T > 0 for fields in towers]).astype(np.float32)
        logits = model(Tensor(joined.astype(np.int32)), Tensor(known[..., None])).asnumpy()
        columns = ids if model.towers == 2 else ids[:3]
        found = served(*map(Tensor, columns)).asnumpy()
        assert found.shape == (rows,)
        np.testing.assert_allclose(found, sigmoid(logits[-1]), rtol=1e-5)
