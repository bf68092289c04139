"""Compiled cells that only read the model: table rows, features, logits."""

from mindspore import nn, ops


class TableRows(nn.Cell):
    """Rows of the joined table, (R, E)."""

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model = model

    def construct(self, ids):
        return ops.gather(self.model.table, ids, 0)


class Features(nn.Cell):
    """Last hidden layer of the target tower, (B, H)."""

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model = model

    def construct(self, ids, known):
        return self.model.features(ids, known)


class Logits(nn.Cell):
    """The model's logits, (towers, B)."""

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model = model

    def construct(self, ids, known):
        return self.model(ids, known)
