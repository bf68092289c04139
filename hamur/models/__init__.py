"""Published networks, one a file, and the dicts that list them by public name.

A model maps a batch to logits; losses, optimisers and data loading live elsewhere.  To add one:
write its file (a subclass of ``RankingModel`` with a ``network`` method, or of ``MultiTaskModel``
with ``tasks``) and add its line to ``BACKBONES`` or ``NETWORKS``.
"""

from dataclasses import replace

from hamur.models.aitm import AdaptiveTransfer
from hamur.models.conet import CoNet, CoNetS
from hamur.models.dcn import MultiDomainDCN
from hamur.models.metaheac import MetaHeac
from hamur.models.mixtures import MultiGateMixture, OneGateMixture
from hamur.models.mlp import MultiDomainMLP
from hamur.models.multi_task import MultiTaskConfig
from hamur.models.ple import ProgressiveLayeredExtraction
from hamur.models.pomoe import preference_mixture
from hamur.models.ranking import build, match_parameters, parameter_counts
from hamur.models.sharedbottom import SharedBottom
from hamur.models.singletask import SingleTask
from hamur.models.wide_deep import MultiDomainWideDeep

BACKBONES = {"mlp": MultiDomainMLP, "dcn_md": MultiDomainDCN, "wd_md": MultiDomainWideDeep}
NETWORKS = {
    "singletask": SingleTask,
    "sharedbottom": SharedBottom,
    "omoe": OneGateMixture,
    "mmoe": MultiGateMixture,
    "ple": ProgressiveLayeredExtraction,
    "aitm": AdaptiveTransfer,
    "metaheac": MetaHeac,
    "pomoe": preference_mixture,
}

# Cross-domain models take FieldSizes and a CoNetConfig; conet_biao is CoNet under learned weights.
CROSS_DOMAIN = {"conet_s": CoNetS, "conet": CoNet, "conet_biao": CoNet}


def _constructor(name):
    def construct(schema, preset="best", config=None, seed=2022, embed_dim=None, hidden_dims=None):
        return build(BACKBONES, name, schema, preset, config, seed, embed_dim, hidden_dims)

    construct.__doc__ = f"Build {name!r} for a schema; see hamur.models.ranking.build."
    return construct


def _multi_task(name):
    def construct(schema, preset="pareto", config=None, seed=1, **sizes):
        config = replace(config or MultiTaskConfig(preset=preset), **sizes)
        return NETWORKS[name](schema, config, seed)

    construct.__doc__ = f"Build {name!r} for a schema; sizes are fields of MultiTaskConfig."
    return construct


RANKING = {name: _constructor(name) for base in BACKBONES for name in (base, f"{base}_adp")}
MULTI_TASK = {name: _multi_task(name) for name in NETWORKS}

__all__ = [
    "BACKBONES",
    "CROSS_DOMAIN",
    "MULTI_TASK",
    "NETWORKS",
    "RANKING",
    "MultiTaskConfig",
    "match_parameters",
    "parameter_counts",
]
