"""Building blocks: one published idea a file, each an ``nn.Cell`` that knows nothing of data sets
or training.

The cells work on *towers*: a tuple of tensors, one a tower, that ``routing`` cuts from a batch and
joins again.  What lives here is differentiable; loading, losses, optimisers and metrics do not.
"""

from hamur.layers.adapter import AdapterConfig, HyperAdapter
from hamur.layers.cross import CrossNetwork
from hamur.layers.embedding import Dropout, InstanceEmbedding
from hamur.layers.hyper_network import HyperNetwork
from hamur.layers.mlp import HiddenBlock, TowerDense, TowerMLP
from hamur.layers.norm import DomainBatchNorm

__all__ = [
    "AdapterConfig",
    "CrossNetwork",
    "DomainBatchNorm",
    "Dropout",
    "HiddenBlock",
    "HyperAdapter",
    "HyperNetwork",
    "InstanceEmbedding",
    "TowerDense",
    "TowerMLP",
]
