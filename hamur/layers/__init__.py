"""Building blocks, one published idea per file: ``nn.Cell``s without data sets or training.

The cells work on *towers*: a tuple of tensors, one per tower, that ``routing`` dispatches from a
batch and combines again.
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
