"""A trained model as a MindIR file: probabilities of any rows, without this package."""

from pathlib import Path

import mindspore as ms
from mindspore import Tensor, nn, ops

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
    Tensors of sparse, dense and domain (and multi_ids, multi_weight as `data.ragged.padded` makes
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
