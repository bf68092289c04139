"""Layer sizes of the public runs, by data set and model (HAMUR's published hyper-parameters)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """hidden_dims of a tower, and of its adapter: adapter_layers (1-based), hyper-network,
    K, M."""

    hidden_dims: tuple[int, ...]
    adapter_layers: tuple[int, ...]
    hyper_dims: tuple[int, ...]
    rank: int
    bottleneck_dim: int = 32
    cross_layers: int = 0
    dropout: float = 0.0
    embed_dim: int = 16


_DEEP = (512, 512, 256, 256, 64, 64)

PUBLISHED = {
    "ml-1m": {
        "mlp": Sizes((256, 128), (2,), (64,), 35),
        "dcn_md": Sizes((256, 128), (2,), (128,), 30, cross_layers=2),
        "wd_md": Sizes((256, 128), (2,), (128,), 45, dropout=0.2),
    },
    "ali-ccp": {
        "mlp": Sizes((1024, 512, 512, 256, 256, 64, 64), (6, 7), (64,), 65),
        "dcn_md": Sizes(_DEEP, (6,), (64,), 25, cross_layers=7),
        "wd_md": Sizes(_DEEP, (6,), (64,), 25, dropout=0.2),
    },
}


def published_sizes(dataset, backbone):
    """Sizes of a data set; a data set without published ones takes those of MovieLens-1M."""
    table = PUBLISHED.get(dataset, PUBLISHED["ml-1m"])
    return table.get(backbone, table["mlp"])
