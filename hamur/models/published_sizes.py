"""Layer sizes of the public runs, by data set and model (HAMUR's published hyper-parameters)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """hidden_dims of a tower, and of its adapter: adapter_layers (1-based, () = the last one),
    hyper-network, K, M.

    Of the models of others: bottom_dims before the towers, expert_dims of each expert, aux_dims of
    an auxiliary network, id_fields that a gate reads with their gradient.
    """

    hidden_dims: tuple[int, ...]
    adapter_layers: tuple[int, ...] = ()
    hyper_dims: tuple[int, ...] = (64,)
    rank: int = 16
    bottleneck_dim: int = 32
    bottom_dims: tuple[int, ...] = ()
    expert_dims: tuple[int, ...] = ()
    aux_dims: tuple[int, ...] = ()
    id_fields: tuple[str, ...] = ()
    cross_layers: int = 0
    dropout: float = 0.0
    embed_dim: int = 16


_DEEP = (512, 512, 256, 256, 64, 64)
_SIX = (256, 128, 64, 32, 16, 8)  # of the authors' benchmark, Scenario-Wise-Rec, on Ali-CCP

PUBLISHED = {
    "ml-1m": {
        "mlp": Sizes((256, 128), (2,), (64,), 35),
        "dcn_md": Sizes((256, 128), (2,), (128,), 30, cross_layers=2),
        "wd_md": Sizes((256, 128), (2,), (128,), 45, dropout=0.2),
        "sharedbottom": Sizes((8,), bottom_dims=(128,)),
        "mmoe": Sizes((8,), expert_dims=(16,)),
        "ple": Sizes((8,), expert_dims=(16,)),
        "star": Sizes((128, 64, 32), aux_dims=(32,)),
        "sarnet": Sizes((32, 32), expert_dims=(16,)),
        "m2m": Sizes((64, 32), expert_dims=(16,)),
        "adasparse": Sizes((32, 32), dropout=0.2),
        "adaptdhm": Sizes((64, 64)),
        "epnet": Sizes((128, 64, 32)),
        "ppnet": Sizes((128, 64, 32), id_fields=("user_id", "movie_id")),
        "m3oe": Sizes((32,), bottom_dims=(128, 64, 64), expert_dims=(32,)),
    },
    "ali-ccp": {
        "mlp": Sizes((1024, 512, 512, 256, 256, 64, 64), (6, 7), (64,), 65),
        "dcn_md": Sizes(_DEEP, (6,), (64,), 25, cross_layers=7),
        "wd_md": Sizes(_DEEP, (6,), (64,), 25, dropout=0.2),
        "sharedbottom": Sizes(_SIX, bottom_dims=(512,)),
        "mmoe": Sizes((16,), expert_dims=_SIX),
        "ple": Sizes((16,), expert_dims=_SIX),
        "star": Sizes(_SIX, aux_dims=(16,)),
        "sarnet": Sizes((32, 32), expert_dims=(16,)),
        "m2m": Sizes((64, 32), expert_dims=(16,)),
        "adasparse": Sizes(_SIX, dropout=0.2),
        "adaptdhm": Sizes(_SIX),
        "epnet": Sizes(_SIX),
        "ppnet": Sizes(_SIX, id_fields=("101", "205")),
        "m3oe": Sizes((64,), bottom_dims=(512, 256, 256), expert_dims=(64,)),
    },
}


def published_sizes(dataset, backbone):
    """Sizes of a data set; a data set without published ones takes those of MovieLens-1M."""
    table = PUBLISHED.get(dataset, PUBLISHED["ml-1m"])
    return table.get(backbone, table["mlp"])
