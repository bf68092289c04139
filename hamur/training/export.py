"""A trained model as a MindIR file: probabilities of any rows, without this package."""

from pathlib import Path

import mindspore as ms
from mindspore import Tensor, nn, ops

from hamur.models.conet import SOURCE_FIELDS, TARGET_FIELDS

SUFFIX = ".mindir"


class Serving(nn.Cell):
    """sparse (B, F) int32, dense (B, C) float32, domain (B,) int32 -> probabilities (B,) float32;
    of a model with lists also multi_ids (B, S) int32 and multi_weight (B, S) float32.

    No quotas: every row passes all towers and takes its own domain's, so B and domains are free.
    """

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model = model

    def construct(self, sparse, dense, domain, multi_ids=None, multi_weight=None):
        return ops.sigmoid(
            self.model(sparse, dense, domain, None, None, (), multi_ids, multi_weight)
        )


def export_mindir(model, path):
    """Write a ranking model to ``path`` (``.mindir``, added if missing); returns it as a Path.

    The number of rows stays open.  Load with ``nn.GraphCell(ms.load(path))`` and call it with
    Tensors of sparse, dense and domain (and multi_ids, multi_weight as `multi_valued.padded` makes
    them, where the schema has lists); ids and scaling are those of the model's schema.
    Raises:  ValueError: ``norm_inference="batch"``, whose scores would depend on the rows that are
        served together.
    """
    config, schema = model.config, model.schema
    if config.enabled and config.norm_inference == "batch":
        raise ValueError(
            "norm_inference='batch' scores a row with the statistics of its batch, which cannot be "
            "served. Export a model trained with norm_inference='running'."
        )
    path = Path(path)
    path = path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)
    serving = Serving(model)
    serving.set_train(False)
    inputs = (
        Tensor(shape=(None, schema.num_sparse), dtype=ms.int32),
        Tensor(shape=(None, schema.num_dense), dtype=ms.float32),
        Tensor(shape=(None,), dtype=ms.int32),
    )
    if schema.multi:
        shape = (None, sum(spec.max_len for spec in schema.multi))
        inputs += (Tensor(shape=shape, dtype=ms.int32), Tensor(shape=shape, dtype=ms.float32))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written in place: MindSpore divides a file above 1 GB into several that name each other.
    ms.export(serving, *inputs, file_name=str(path), file_format="MINDIR")
    return path


class ServingCoNet(nn.Cell):
    """user, target item, target category, source item, source category (B,) int32, each 0 where
    unknown -> probabilities (B,) float32 that the user likes the target item.  CoNet-S takes the
    first three.
    """

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model = model
        fields = SOURCE_FIELDS + TARGET_FIELDS if model.towers == 2 else TARGET_FIELDS
        self.fields, self.towers = fields, model.towers
        offsets = model.sizes.offsets
        self.offsets = tuple(int(offsets[field]) for field in fields)

    def construct(self, *ids):
        rows, known = (), ()
        for place in range(len(self.fields)):
            field = ids[self.fields[place]]
            rows = rows + (field + self.offsets[place],)
            known = known + ((field > 0).astype(ms.float32),)
        rows = ops.stack(rows, -1).reshape(-1, self.towers, 3).transpose(1, 0, 2)
        known = ops.stack(known, -1).reshape(-1, self.towers, 3, 1).transpose(1, 0, 2, 3)
        return ops.sigmoid(self.model(rows, known)[-1])


def export_cross_domain(model, path):
    """Write CoNet or CoNet-S to ``path`` (``.mindir``, added if missing); returns it as a Path.

    Inputs and outputs as in ``ServingCoNet``; a score that averages several source candidates is
    the mean of one call each.  The perceptron is not needed: its weights act in training only.
    """
    path = Path(path)
    path = path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)
    serving = ServingCoNet(model)
    serving.set_train(False)
    count = 5 if model.towers == 2 else 3
    inputs = [Tensor(shape=(None,), dtype=ms.int32) for _ in range(count)]
    path.parent.mkdir(parents=True, exist_ok=True)
    ms.export(serving, *inputs, file_name=str(path), file_format="MINDIR")
    return path
