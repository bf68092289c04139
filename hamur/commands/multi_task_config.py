"""Options of the multi-task script: its flags, what each preset resolves them to, and which flags a
preset refuses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from hamur.config import (
    RunOptions,
    choose_batch_size,
    data_flag,
    fill_missing,
    flag,
    model_flag,
    shared,
    training_flag,
)
from hamur.models import MULTI_TASK

front_flag = partial(flag, group="preferences and front")

COUNTRIES = ("NL", "ES", "FR", "US", "RU")
SYNTHETIC = "Synthetic"
DATA_SETS = (*(f"AliExpress_{country}" for country in COUNTRIES), SYNTHETIC)
OFFICIAL = "official"
SYNONYMS = {"published": OFFICIAL}

# Names defined beside the layers and losses that they choose, repeated here so that --help loads no
# MindSpore; a test compares the two.
META_ORDERS = ("second", "first", "none")
HEADS = ("per_task", "shared_score")
GATES = ("linear", "deep", "attention")
EXPERT_KINDS = ("mlp", "cross", "ple")
TOWER_NORMS = ("conditional", "layer", "batch")
SCALARISATIONS = ("linear", "tchebycheff", "smooth_tchebycheff", "cosmos", "hypervolume", "epo")
SCALARISATIONS += (OFFICIAL,)
SAMPLERS = ("angles", "annealed", "grid", "dirichlet")

BATCH_SIZE = 2048
AVERAGING = 0.998  # of pomoe

# Resolved where a flag is not given.
PRESETS = {
    "pareto": dict(
        head="per_task",
        gate="deep",
        expert_kind="mlp",
        tower_norm="conditional",
        scalarisation="linear",
        loss_norm="entropy",
        sampler="angles",
        preferences_per_step=8,
        eval_preferences=25,
        anneal_power=2.0,
        reference_front=0,
    ),
    OFFICIAL: dict(
        head="per_task",
        scalarisation=OFFICIAL,
        loss_norm="none",
        sampler="dirichlet",
        dirichlet_alpha="1,1.2",
        preferences_per_step=1,
        eval_preferences=5,
        anneal_power=2.0,
        reference_front=0,
    ),
}
PREFERENCE_FLAGS = (*PRESETS["pareto"], "gate_anchor", "dirichlet_alpha", "ideal")
# The official preset has its own.
PARETO_FLAGS = (
    *("head", "gate", "gate_anchor", "expert_kind", "tower_norm", "scalarisation", "sampler"),
    *("loss_norm", "anneal_power", "ideal", "preferences_per_step"),
)
# Resolved for, and refused by all but, one model.
OWN_FLAGS = {"calibrator": ("aitm", 0.0), "meta_order": ("metaheac", "second")}


@dataclass(frozen=True)
class TaskOptions(RunOptions):
    """Options of the multi-task models, whatever the data.

    Raises:  ValueError: an unknown choice, a number out of its range, or a flag that the chosen
        model and preset have no use for; the text names the flag, the rule and the value.
    """

    presets = PRESETS
    presets_refuse_flags = True  # `check_usage`
    dataset_path: str | None = shared(
        "dataset_path", help="the folder that holds the data set's folder, or that folder itself"
    )
    tasks: str | None = data_flag(
        None, "label columns in funnel order, comma separated", default_text="all of the data"
    )
    max_rows: int | None = data_flag(
        None, "train on the first rows only, whole search pages", at_least=200, default_text="all"
    )
    on_bad_rows: str = shared("on_bad_rows")
    max_bad_fraction: float = shared("max_bad_fraction")
    allow_leakage: tuple[str, ...] = shared("allow_leakage")
    max_line_mib: int = shared("max_line_mib")
    model_name: str = model_flag("metaheac", "the network", choices=MULTI_TASK)
    preset: str = model_flag(
        "pareto",
        "official: as the public code computes, its defects included; pareto: corrected",
        choices=PRESETS,
        synonyms=SYNONYMS,
    )
    expert_num: int = model_flag(6, "number of experts", at_least=1)
    embed_dim: int = model_flag(128, "width of an embedding", at_least=1)
    calibrator: float | None = model_flag(
        None, "aitm: weight of the funnel's penalty", at_least=0, default_text="0"
    )
    meta_order: str | None = model_flag(
        None,
        "metaheac: derivative through the inner step",
        choices=META_ORDERS,
        default_text="second",
    )
    head: str | None = model_flag(
        None,
        "pomoe: one tower per task, or one score for all tasks, whose front is a true trade-off",
        choices=HEADS,
    )
    gate: str | None = model_flag(None, "pomoe: how the gates read the instance", choices=GATES)
    gate_anchor: float | None = model_flag(
        None,
        "pomoe: how strongly a preference prefers its nearest expert to the next",
        at_least=0,
        default_text="5.4 for head shared_score, else 0",
    )
    expert_kind: str | None = model_flag(None, "pomoe: the experts", choices=EXPERT_KINDS)
    tower_norm: str | None = model_flag(None, "pomoe: the towers' norm", choices=TOWER_NORMS)
    scalarisation: str | None = front_flag(
        None, "pomoe: how a preference weighs the losses", choices=SCALARISATIONS, synonyms=SYNONYMS
    )
    loss_norm: str | None = front_flag(
        None,
        "pomoe: entropy: losses divided by base entropies, less the ideal for non-linear rules; "
        "none: raw losses",
        choices=("entropy", "none"),
    )
    sampler: str | None = front_flag(None, "pomoe: the preferences of a step", choices=SAMPLERS)
    anneal_power: float | None = front_flag(
        None, "sampler annealed: how fast preferences spread from the even one", above=0
    )
    dirichlet_alpha: str | None = front_flag(
        None,
        "sampler dirichlet: one positive number per task, comma separated",
        default_text="1 per task; official 1,1.2",
    )
    ideal: str | None = front_flag(
        None,
        "NE of single-task runs, comma separated, that non-linear rules measure from",
        default_text="the running minimum less 0.01",
    )
    preferences_per_step: int | None = front_flag(
        None, "preferences of a training step", at_least=1
    )
    eval_preferences: int | None = front_flag(None, "points of the front", at_least=1)
    reference_front: int | None = front_flag(
        None, "also train this number of models, each for one fixed preference", at_least=0
    )
    posthoc: bool = front_flag(
        True, "compare with the front computed from a per-task model without a hyper-network"
    )
    bootstrap: int = front_flag(
        0,
        "resamples of search pages, or of rows, for intervals of the front's measures",
        at_least=0,
    )
    epochs: int = shared("epochs", 50)
    patience: int = shared("patience", 2)
    learning_rate: float = shared("learning_rate", 3e-4)
    batch_size: int | None = shared("batch_size", default_text=str(BATCH_SIZE))
    seed: int = shared("seed", 1)
    weight_decay: float = shared("weight_decay", 1e-6)
    averaging: float | None = shared(
        "averaging", default_text=f"pomoe {AVERAGING}; official and other models 0"
    )
    select_on: str = training_flag(
        "valid",
        "rows that pick the best epoch; test, as in the public code, gives optimistic figures",
        choices=("valid", "test"),
    )

    def __post_init__(self):
        super().__post_init__()
        for name in ("dirichlet_alpha", "ideal"):
            self.numbers(name)

    def check_usage(self) -> None:
        """ValueError for a given flag that the chosen model and preset have no use for."""
        official = self.model_name == "pomoe" and self.preset == OFFICIAL
        sampler, rule = self.sampler or "angles", self.scalarisation or "linear"

        def refuse(names: Sequence[str], use: str) -> None:
            for name in names:
                if getattr(self, name) is not None:
                    raise ValueError(f"--{name} is for {use}.")

        if self.model_name != "pomoe":
            refuse(PREFERENCE_FLAGS, f"--model_name pomoe, not {self.model_name}")
        for name, (owner, _) in OWN_FLAGS.items():
            if self.model_name != owner:
                refuse([name], f"{owner}, not {self.model_name}")
        if official:
            refuse(PARETO_FLAGS, "--preset pareto; official has its own")
        if sampler != "annealed":
            refuse(["anneal_power"], f"--sampler annealed, not {sampler}")
        if sampler != "dirichlet" and not official:
            refuse(["dirichlet_alpha"], "--sampler dirichlet")
        if rule == "linear":
            refuse(["ideal"], "the non-linear --scalarisation choices")

    def numbers(self, name: str) -> tuple[float, ...] | None:
        """The numbers of a comma-separated flag."""
        text = getattr(self, name)
        if text is None:
            return None
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            values = (math.nan,)
        if not all(map(math.isfinite, values)):
            raise ValueError(f"--{name} is {text!r}; give numbers such as 1,1.2.")
        return values

    def check_numbers(self, tasks: int) -> None:
        """ValueError for a flag of one number per task that has another number of them."""
        for name in ("ideal", "dirichlet_alpha"):
            values = self.numbers(name)
            if values is not None and len(values) != tasks:
                raise ValueError(
                    f"--{name} is {getattr(self, name)!r}; give {tasks} numbers, one per task."
                )

    def resolved(self, script: str, train_rows: int) -> "TaskOptions":
        """A copy with the value that is used in place of every None that has one."""
        pomoe = self.model_name == "pomoe"
        own = {n: value for n, (owner, value) in OWN_FLAGS.items() if owner == self.model_name}
        defaults = PRESETS[self.preset] if pomoe else own
        return fill_missing(
            self,
            averaging=AVERAGING if pomoe and self.preset == "pareto" else 0.0,
            batch_size=choose_batch_size(BATCH_SIZE, train_rows),
            init_seed=self.seed,
            save_dir=f"runs/{script}/{self.model_name}-{self.seed}",
            **defaults,
        )


@dataclass(frozen=True)
class TaskConfig(TaskOptions):
    """Options of the AliExpress script."""

    dataset_name: str = data_flag("AliExpress_NL", "the data set", choices=DATA_SETS)
    task_num: int = data_flag(2, "number of tasks, which must be that of the data", at_least=1)
    valid_fraction: float = data_flag(
        0.1, "share of the training rows kept for validation", above=0, below=1
    )
    synthetic_rows: int = data_flag(40_000, "rows of --dataset_name Synthetic", at_least=1000)
    conflict: float = data_flag(
        0.25, "disagreement of the tasks of --dataset_name Synthetic, 0 to 0.5", at_least=0
    )
    alpha: float | None = training_flag(None, "accepted for the public command line; no effect")
    lamb: float | None = training_flag(None, "accepted for the public command line; no effect")

    def __post_init__(self):
        super().__post_init__()
        if self.conflict > 0.5:
            raise ValueError(f"--conflict must be at most 0.5, got {self.conflict}.")
