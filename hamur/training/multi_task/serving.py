"""Scores for requests that each bring a preference.

Everything that a preference decides goes through its features (`PreferenceFeatures`): they are
computed once a preference and kept, and a request of any preference runs the same graph.
"""

from collections import OrderedDict
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from hamur.training.multi_task.samplers import check_preference
from hamur.training.predict import graph_mode

DECIMALS = 4  # preferences that agree so far share an entry


class FeatureScores(nn.Cell):
    """sparse (B, F) int32, dense (B, C), features (R, V) -> logits (B, R, T)."""

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model = model

    def construct(self, sparse, dense, features):
        instance = self.model.embedding(sparse, dense)
        weight = ops.ones_like(dense[:, 0])
        outputs = self.model.expert_outputs(instance, weight)
        return self.model.from_features(instance, outputs, features, weight)


class PreferenceCache:
    """Logits for one request at a time, with the features of the last preferences kept.

    cache(sparse (B, F), dense (B, C), preference (T,)) -> logits (B, T) float32.  A preference is
    rounded to 1e-4 and checked on the simplex; `capacity` of them are kept, the least recently used
    goes first.  The model must not be trained while it is served.
    Raises:  ValueError: a model without preference features (preset "published"), a preference that
        is not on the simplex.
    """

    def __init__(self, model, capacity=256):
        _check(model)
        self.model, self.capacity = model, capacity
        self.scores = FeatureScores(model)
        model.set_train(False)
        self.scores.set_train(False)
        self.kept = OrderedDict()

    def __call__(self, sparse, dense, preference):
        with graph_mode():
            v = Tensor(self.features_of(preference))
            return self.scores(Tensor(sparse), Tensor(dense), v).asnumpy()[:, 0]

    def features_of(self, preference):
        """Features (1, V) of a preference, from the cache where they are there."""
        r = check_preference(preference, self.model.num_tasks)
        key = tuple(np.round(r.astype(np.float64), DECIMALS).tolist())
        if key not in self.kept:
            rounded = check_preference(np.array([key]), self.model.num_tasks)
            self.kept[key] = self.model.features(Tensor(rounded)).asnumpy()
            if len(self.kept) > self.capacity:
                self.kept.popitem(last=False)
        self.kept.move_to_end(key)
        return self.kept[key]


def export_preference_model(model, folder):
    """Write scores.mindir (sparse, dense, features) -> logits (B, 1, T) for any number of rows,
    and features.mindir r (1, T) -> features (1, V); returns both paths.

    Load with ``nn.GraphCell(ms.load(path))``; ids and scaling are those of the model's schema.
    Raises:  ValueError: a model without preference features.
    """
    _check(model)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    schema, scores = model.schema, FeatureScores(model)
    model.set_train(False)
    scores.set_train(False)
    inputs = (
        Tensor(shape=(None, schema.num_sparse), dtype=ms.int32),
        Tensor(shape=(None, schema.num_dense), dtype=ms.float32),
        Tensor(np.zeros((1, model.features.width), np.float32)),
    )
    paths = folder / "scores.mindir", folder / "features.mindir"
    ms.export(scores, *inputs, file_name=str(paths[0]), file_format="MINDIR")
    preference = Tensor(np.zeros((1, model.num_tasks), np.float32))
    ms.export(model.features, preference, file_name=str(paths[1]), file_format="MINDIR")
    return paths


def _check(model):
    if not hasattr(model, "from_features"):
        raise ValueError(
            f"{type(model).__name__} has no preference features to serve; use pomoe with preset "
            "'pareto'."
        )
