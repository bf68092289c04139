"""Flags of cross-domain scripts for the model and the lower level."""

from dataclasses import dataclass

from hamur.layers.importance import GATE_STARTS
from hamur.training.bilevel.presets import (
    ARMS,
    MODELS,
    PRESETS,
    SWITCH,
    lower_flag,
    model_flag,
    preset_flag,
)


@dataclass(frozen=True)
class ModelFlags:
    """The groups "model" and "lower level"; None = the preset's value, or resolved later."""

    preset: str = model_flag(
        "corrected",
        "published: as the public code computes, its defects included; corrected: ours",
        choices=PRESETS,
    )
    config: str | None = model_flag(
        None, "JSON file of options; flags override it", default_text="none"
    )
    model_name: str = model_flag(
        "conet_biao",
        "conet_s: target tower alone; conet: all source behaviours weigh the same; conet_biao: "
        "learned weights",
        choices=MODELS,
    )
    use_meta: int | None = model_flag(
        None, "0 is --model_name conet, 1 conet_biao", default_text="by the model", **SWITCH
    )
    only_target: int | None = model_flag(
        None, "1 is --model_name conet_s", default_text="by the model", **SWITCH
    )
    arm: str | None = model_flag(
        None,
        "what the upper level learns: uniform nothing; annealed nothing, the weight decays as the "
        "published decay makes it; scalar one number; item a weight an item; perceptron all; "
        "oracle nothing, harmful rows of --truth weigh 0",
        choices=ARMS,
        default_text="by the model",
    )
    embed_dim: int = model_flag(10, "width of an embedding", at_least=1)
    s_hislen: int = model_flag(50, "longest history", at_least=1)
    act: str | None = preset_flag(
        model_flag, "act", "activation of the towers", choices=("relu", "leaky")
    )
    embed_std: float | None = preset_flag(
        model_flag, "embed_std", "initial standard deviation of embeddings", at_least=0
    )
    pad_row: str | None = preset_flag(
        model_flag, "pad_row", "vector of padding and unknown ids", choices=("random", "zero")
    )
    combine: str | None = preset_flag(
        model_flag,
        "combine",
        "score of a behaviour: gamma_1 gamma_2, or gamma_1 times a positive gate",
        choices=("product", "gated"),
    )
    gate_start: str | None = model_flag(
        None,
        "the gate at the start: zero, the same for all users, where --arm perceptron begins as "
        "--arm item does; or random",
        choices=GATE_STARTS,
        default_text="zero for --combine gated, random for product as published",
    )
    category_bias: int | None = preset_flag(
        model_flag, "category_bias", "1: a bias for each source category in gamma_1", **SWITCH
    )
    weight_norm: str | None = preset_flag(
        model_flag,
        "weight_norm",
        "softmax over the batch, or a sigmoid a row",
        choices=("softmax_batch", "sigmoid"),
    )
    prior_mode: str | None = preset_flag(
        model_flag,
        "prior_mode",
        "common factor of the weights: fixed 1, learned through a softplus, or relu as published",
        choices=("fixed", "learned", "relu"),
    )
    attn_mask: int | None = preset_flag(
        model_flag, "attn_mask", "1: padding is not attended", **SWITCH
    )
    pool_mean: str | None = preset_flag(
        model_flag,
        "pool_mean",
        "attention is averaged over all positions or over the real ones",
        choices=("all", "len"),
    )
    epochs: int | None = preset_flag(
        lower_flag, "epochs", "passes over the training rows, at most", at_least=1
    )
    patience: int | None = preset_flag(
        lower_flag,
        "patience",
        "epochs without a better validation AUC before the end, 0 = no early end",
        at_least=0,
    )
    lr: float | None = preset_flag(lower_flag, "lr", "step of Adam on theta", above=0)
    embedding_decay: float = lower_flag(
        0.0,
        "decoupled decay of the embedding tables: they shrink by about this share in a pass; "
        "published none",
        at_least=0,
    )
    t_batchsize: int = lower_flag(64, "rows of a lower step", at_least=2)
    steps_per_call: int = lower_flag(
        1,
        "lower steps in one compiled call, with the same result: more compile longer, and wait "
        "less for a busy machine",
        at_least=1,
    )
    prior_weight: float = lower_flag(1.0, "factor of the source loss", at_least=0)
    detach_weights: int | None = preset_flag(
        lower_flag,
        "detach_weights",
        "1: weights are constants in the lower step; 0: theta may change them, as published",
        **SWITCH,
    )
    seed: int = lower_flag(8, "seed of initial weights, held-out rows and shuffling", at_least=0)
    on_collapse: str = lower_flag(
        "warn",
        "what to do when the model predicts a constant: warn, restart (3 times at most) or error",
        choices=("warn", "restart", "error"),
    )
