"""Logits of a preference mixture from the features of preferences, for weights that stand still."""

import numpy as np
from mindspore import Parameter, Tensor, nn, ops


class FeatureScores(nn.Cell):
    """sparse (B, F) int32, dense (B, C), features (R, V) -> logits (B, R, T).

    What the embeddings make of the weights that meet the instance (TokenEmbedding.embedded_weight)
    is computed by ``refresh``: before the first batch, and again when the weights have changed.
    """

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model = model
        self.of_experts, self.of_gate = (self.room(weight) for weight in model.instance_weights())

    def room(self, weight):
        """A Parameter for the embedded form of a weight; None where the products need none."""
        if weight is None or not self.model.embedding.factored:
            return None
        zeros = np.zeros((self.model.embedding.columns, weight.shape[1]), np.float32)
        return Parameter(Tensor(zeros), name=f"{weight.name}.embedded", requires_grad=False)

    def refresh(self):
        """Read the weights again."""
        for kept, weight in zip((self.of_experts, self.of_gate), self.model.instance_weights()):
            if kept is not None:
                kept.set_data(Tensor(self.model.embedding.embedded_weight(weight)))

    def read(self, preferences):
        """Features (R, V) of preferences (R, T) float32."""
        return self.model.features(Tensor(preferences))

    def construct(self, sparse, dense, features):
        instance = self.model.embedding(sparse, dense)
        weight = ops.ones_like(dense[:, 0])
        outputs = self.model.expert_outputs(instance, weight, (), self.of_experts)
        return self.model.from_features(instance, outputs, features, weight, (), self.of_gate)
