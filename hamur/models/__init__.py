"""Published networks, one per file, and the dicts that list them by public name.

A model maps a batch to logits; losses, optimisers and data loading live elsewhere.  To add one:
write its file (a subclass of ``RankingModel`` with a ``network`` method, or of ``MultiTaskModel``
with ``tasks``) and add its line to ``BASELINES`` or ``NETWORKS``.
"""

from collections import UserDict
from dataclasses import replace
from importlib import import_module


class Networks(UserDict):
    """{public name: class}, written as "module.Class" of this package.

    A class is imported when it is asked for, so that a look at the names loads no MindSpore.
    """

    def __getitem__(self, name):
        network = super().__getitem__(name)
        return _attribute(network) if isinstance(network, str) else network


def _attribute(path):
    module, _, name = path.rpartition(".")
    return getattr(import_module(f"hamur.models.{module}"), name)


HAMUR = {
    "mlp": "mlp.MultiDomainMLP",
    "dcn_md": "dcn.MultiDomainDCN",
    "wd_md": "wide_deep.MultiDomainWideDeep",
}
# Models of others, for the comparison, and two controls.
BASELINES = {
    "single_domain": "multi_domain.controls.SingleDomain",
    "domain_feature": "multi_domain.controls.DomainFeature",
    "sharedbottom": "multi_domain.sharedbottom.SharedBottom",
    "mmoe": "multi_domain.mmoe.MultiGateMixture",
    "ple": "multi_domain.ple.ProgressiveLayeredExtraction",
    "epnet": "multi_domain.epnet.EPNet",
    "ppnet": "multi_domain.ppnet.PPNet",
    "star": "multi_domain.star.Star",
    "sarnet": "multi_domain.sarnet.SARNet",
    "m3oe": "multi_domain.m3oe.MultiDomainMixtureOfExperts",
    "m2m": "multi_domain.m2m.M2M",
    "adasparse": "multi_domain.adasparse.AdaSparse",
    "adaptdhm": "multi_domain.adaptdhm.AdaptDHM",
}
BACKBONES = Networks(HAMUR | BASELINES)
NETWORKS = Networks(
    {
        "singletask": "singletask.SingleTask",
        "sharedbottom": "sharedbottom.SharedBottom",
        "omoe": "mixtures.OneGateMixture",
        "mmoe": "mixtures.MultiGateMixture",
        "ple": "ple.ProgressiveLayeredExtraction",
        "aitm": "aitm.AdaptiveTransfer",
        "metaheac": "metaheac.MetaHeac",
        "pomoe": "pomoe.preference_mixture",
    }
)
# Cross-domain models take FieldSizes and a CoNetConfig; conet_biao is CoNet with learned weights of
# its source behaviours.
CROSS_DOMAIN = Networks(
    {"conet_s": "conet.CoNetS", "conet": "conet.CoNet", "conet_biao": "conet.WeightedCoNet"}
)


def _constructor(name):
    def construct(schema, preset="best", config=None, seed=2022, **sizes):
        from hamur.models.ranking import build

        return build(BACKBONES, name, schema, preset, config, seed, **sizes)

    construct.__doc__ = f"Build {name!r} for a schema; see hamur.models.ranking.build."
    return construct


def _multi_task(name):
    def construct(schema, preset="pareto", config=None, seed=1, **sizes):
        from hamur.models.multi_task import MultiTaskConfig

        config = replace(config or MultiTaskConfig(preset=preset), **sizes)
        return NETWORKS[name](schema, config, seed)

    construct.__doc__ = f"Build {name!r} for a schema; sizes are fields of MultiTaskConfig."
    return construct


RANKING = {name: _constructor(name) for base in HAMUR for name in (base, f"{base}_adp")}
RANKING |= {name: _constructor(name) for name in BASELINES}
MULTI_TASK = {name: _multi_task(name) for name in NETWORKS}

_ELSEWHERE = {
    "Model": "protocol.Model",
    "MultiTaskConfig": "multi_task.MultiTaskConfig",
    "match_parameters": "ranking.match_parameters",
    "parameter_counts": "protocol.parameter_counts",
    "parameter_groups": "protocol.parameter_groups",
}


def __getattr__(name):
    if name in _ELSEWHERE:
        return _attribute(_ELSEWHERE[name])
    raise AttributeError(f"module 'hamur.models' has no attribute {name!r}")


__all__ = [
    "BACKBONES",
    "CROSS_DOMAIN",
    "MULTI_TASK",
    "NETWORKS",
    "RANKING",
    "Model",
    "MultiTaskConfig",
    "match_parameters",
    "parameter_counts",
    "parameter_groups",
]
