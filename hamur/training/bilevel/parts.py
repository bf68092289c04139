"""The parts of a cross-domain run that its configuration asks for: rows, model, perceptron."""

from hamur import models
from hamur.layers.importance import Importance
from hamur.models.conet import CoNetConfig
from hamur.training.bilevel.graphs import BehaviourPerceptron
from hamur.training.bilevel.rows import RowRules


def row_rules(config) -> RowRules:
    """The rules of rows that a resolved configuration asks for.

    All arms hold out the same rows, also those that learn nothing from them: else their scores
    would differ by the training rows.
    """
    return RowRules(
        length=config.s_hislen,
        causal=config.history == "causal",
        source_pool=config.source_pool,
        hold_out=config.dev_fraction if config.dev_mode == "holdout" else 0.0,
        replace_missing=config.missing_source == "item_1",
        seed=config.seed,
    )


def build_model(config, sizes, seed=None):
    """CoNet or CoNet-S of a resolved configuration."""
    network = CoNetConfig(
        embed_dim=config.embed_dim,
        slope=0.05 if config.act == "leaky" else 0.0,
        embed_std=config.embed_std,
        zero_padding=config.pad_row == "zero",
    )
    return models.CROSS_DOMAIN[config.model_name](
        sizes, network, config.seed if seed is None else seed
    )


def build_perceptron(config, model) -> BehaviourPerceptron:
    """The perceptron of a resolved configuration with an arm that learns."""
    importance = Importance(
        use_items=config.arm in ("item", "perceptron"),
        use_users=config.arm == "perceptron",
        category_bias=bool(config.category_bias),
        gated=config.combine == "gated",
        attn_mask=bool(config.attn_mask),
        pool_len=config.pool_mean == "len",
        sigmoid=config.weight_norm == "sigmoid",
        prior="learned" if config.arm == "scalar" else config.prior_mode,
        mass_without_source=config.preset == "published",
    )
    prior = 1.0 if importance.prior == "relu" else 0.0
    return BehaviourPerceptron(
        model, importance, config.prior_weight, prior, config.seed, config.gate_start
    )


def needs_second_order(config) -> bool:
    """Whether any second derivative is taken."""
    user_step = config.estimator == "one_step" and config.hyper_scope == "user"
    return not user_step or not config.detach_weights
