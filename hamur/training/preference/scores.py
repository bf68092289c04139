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
        instance, weight = self.model.embedding(sparse, dense), ops.ones_like(dense[:, 0])
        return self.steered(instance, weight, self.expert_outputs(instance, weight), features)

    def expert_outputs(self, instance, weight):
        """(B, X, H), which no preference changes."""
        return self.model.expert_outputs(instance, weight, (), self.of_experts)

    def steered(self, instance, weight, outputs, features):
        """The rest: logits (B, R, T)."""
        return self.model.from_features(instance, outputs, features, weight, (), self.of_gate)


class ExpertPart(nn.Cell):
    """The part of FeatureScores before any preference: sparse, dense -> (B, X, H)."""

    def __init__(self, scores):
        super().__init__(auto_prefix=False)
        self.scores = scores

    def construct(self, sparse, dense):
        instance = self.scores.model.embedding(sparse, dense)
        return self.scores.expert_outputs(instance, ops.ones_like(dense[:, 0]))


class PreferencePart(nn.Cell):
    """The part after it: sparse, dense, outputs (B, X, H), features (R, V) -> (B, R, T)."""

    def __init__(self, scores):
        super().__init__(auto_prefix=False)
        self.scores = scores

    def construct(self, sparse, dense, outputs, features):
        instance = self.scores.model.embedding(sparse, dense)
        return self.scores.steered(instance, ops.ones_like(dense[:, 0]), outputs, features)
