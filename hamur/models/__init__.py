"""Published networks, one a file, and the dicts that list them by public name.

A model maps a batch to logits; losses, optimisers and data loading live elsewhere.  To add one:
write its file (a subclass of ``RankingModel`` with a ``network`` method) and add its line to
``BACKBONES``.
"""

from hamur.models.conet import CoNet, CoNetS
from hamur.models.dcn import MultiDomainDCN
from hamur.models.mlp import MultiDomainMLP
from hamur.models.ranking import build, match_parameters, parameter_counts
from hamur.models.wide_deep import MultiDomainWideDeep

BACKBONES = {"mlp": MultiDomainMLP, "dcn_md": MultiDomainDCN, "wd_md": MultiDomainWideDeep}

# Cross-domain models take FieldSizes and a CoNetConfig; conet_biao is CoNet under learned weights.
CROSS_DOMAIN = {"conet_s": CoNetS, "conet": CoNet, "conet_biao": CoNet}


def _constructor(name):
    def construct(schema, preset="best", config=None, seed=2022, embed_dim=None, hidden_dims=None):
        return build(BACKBONES, name, schema, preset, config, seed, embed_dim, hidden_dims)

    construct.__doc__ = f"Build {name!r} for a schema; see hamur.models.ranking.build."
    return construct


RANKING = {name: _constructor(name) for base in BACKBONES for name in (base, f"{base}_adp")}

__all__ = ["BACKBONES", "CROSS_DOMAIN", "RANKING", "match_parameters", "parameter_counts"]
