"""Options of the multi-task script: its flags, what each preset resolves them to, and which flags
a preset refuses."""

from dataclasses import dataclass
from functools import partial

from hamur.config import (
    MIN_STEPS_PER_EPOCH,
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

# Names defined beside the layers and losses that they choose, repeated here so that --help loads no
# MindSpore; a test compares the two.
META_ORDERS = ("second", "first", "none")
HEADS = ("per_task", "shared_score")
GATES = ("linear", "deep", "attention")
EXPERT_KINDS = ("mlp", "cross", "ple")
TOWER_NORMS = ("conditional", "layer", "batch")
SCALARISATIONS = ("linear", "tchebycheff", "smooth_tchebycheff", "cosmos", "hypervolume", "epo")
SCALARISATIONS += ("published",)
SAMPLERS = ("angles", "annealed", "grid", "dirichlet")

BATCH_SIZE = 2048
AVERAGING = 0.998

# Resolved where a flag is not given; flags that a preset does not know are refused.
PARETO = dict(
    head="per_task",
    gate="deep",
    expert_kind="mlp",
    tower_norm="conditional",
    scalarisation="linear",
    loss_norm="entropy",
    sampler="angles",
    preferences_per_step=8,
    eval_preferences=25,
)
PUBLISHED = dict(
    head="per_task",
    gate=None,
    expert_kind=None,
    tower_norm=None,
    scalarisation="published",
    loss_norm="none",
    sampler="dirichlet",
    preferences_per_step=1,
    eval_preferences=5,
)
PARETO_FLAGS = (
    *("head", "gate", "gate_anchor", "expert_kind", "tower_norm", "scalarisation", "sampler"),
    *("loss_norm", "anneal_power", "ideal", "preferences_per_step"),
)
PREFERENCE_FLAGS = (
    *PARETO,
    "gate_anchor",
    "anneal_power",
    "dirichlet_alpha",
    "ideal",
    "reference_front",
)
OWN_FLAGS = {"calibrator": ("aitm",), "meta_order": ("metaheac",)}


@dataclass(frozen=True)
class TaskConfig(RunOptions):
    """Options of the multi-task models.

    Raises:  ValueError: an unknown choice, a number out of its range, or a flag that the chosen
        model and preset have no use for; the text names the flag, the rule and the value.
    """

    dataset_name: str = data_flag("AliExpress_NL", "the data set", choices=DATA_SETS)
    dataset_path: str | None = data_flag(
        None,
        "the folder that holds the data set's folder, or that folder itself",
        default_text="the generated sample that comes with the repository",
    )
    task_num: int = data_flag(2, "number of tasks, which must be that of the data", at_least=1)
    tasks: str | None = data_flag(
        None, "label columns in funnel order, comma separated", default_text="all of the data"
    )
    valid_fraction: float = data_flag(
        0.1, "share of the training rows kept for validation", above=0, below=1
    )
    max_rows: int | None = data_flag(
        None, "train on the first rows only, whole search pages", at_least=200, default_text="all"
    )
    on_bad_rows: str = data_flag(
        "error",
        "error: stop at the first row that cannot be read; skip: leave such rows out, count them",
        choices=("error", "skip"),
    )
    synthetic_rows: int = data_flag(40_000, "rows of --dataset_name Synthetic", at_least=1000)
    conflict: float = data_flag(
        0.25, "disagreement of the tasks of --dataset_name Synthetic, 0 to 0.5", at_least=0
    )
    model_name: str = model_flag("metaheac", "the network", choices=MULTI_TASK)
    preset: str = model_flag(
        "pareto",
        "published: the public code's behaviour; pareto: corrected",
        choices=("pareto", "published"),
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
        "pomoe: a tower a task, or one score for all tasks, whose front is a true trade-off",
        choices=HEADS,
        default_text="per_task",
    )
    gate: str | None = model_flag(
        None,
        "pomoe: how the gates read the instance",
        choices=GATES,
        default_text="deep",
    )
    gate_anchor: float | None = model_flag(
        None,
        "pomoe: how strongly a preference prefers its nearest expert to the next",
        at_least=0,
        default_text="5.4 for head shared_score, else 0",
    )
    expert_kind: str | None = model_flag(
        None,
        "pomoe: the experts",
        choices=EXPERT_KINDS,
        default_text="mlp",
    )
    tower_norm: str | None = model_flag(
        None,
        "pomoe: the towers' norm",
        choices=TOWER_NORMS,
        default_text="conditional",
    )
    scalarisation: str | None = front_flag(
        None,
        "pomoe: how a preference weighs the losses",
        choices=SCALARISATIONS,
        default_text="linear",
    )
    loss_norm: str | None = front_flag(
        None,
        "pomoe: entropy: losses over base entropies; none: raw (non-linear rules also subtract the "
        "ideal unless none)",
        choices=("entropy", "none"),
        default_text="entropy",
    )
    sampler: str | None = front_flag(
        None,
        "pomoe: the preferences of a step",
        choices=SAMPLERS,
        default_text="angles",
    )
    anneal_power: float | None = front_flag(
        None, "how far annealed preferences spread", above=0, default_text="2"
    )
    dirichlet_alpha: str | None = front_flag(
        None,
        "a positive number a task, comma separated",
        default_text="1 a task; published 1,1.2",
    )
    ideal: str | None = front_flag(
        None,
        "NE of single-task runs, comma separated, that non-linear rules measure from",
        default_text="the running minimum less 0.01",
    )
    preferences_per_step: int | None = front_flag(
        None, "preferences of a training step", at_least=1, default_text="8"
    )
    eval_preferences: int | None = front_flag(
        None, "points of the front", at_least=1, default_text="25; published 5"
    )
    reference_front: int | None = front_flag(
        None,
        "also train so many models of one fixed preference each",
        at_least=0,
        default_text="0",
    )
    posthoc: bool = front_flag(
        True, "compare with the front computed from a per-task model without a hyper-network"
    )
    bootstrap: int = front_flag(
        0, "resamples of search pages for intervals of the front's measures", at_least=0
    )
    epochs: int = shared("epochs", 50)
    patience: int = shared("patience", 2)
    learning_rate: float = shared("learning_rate", 3e-4)
    batch_size: int | None = shared(
        "batch_size",
        default_text=f"{BATCH_SIZE}; less if an epoch had under {MIN_STEPS_PER_EPOCH} steps",
    )
    seed: int = shared("seed", 1)
    weight_decay: float = training_flag(1e-6, "strength of the L2 term", at_least=0)
    averaging: float | None = training_flag(
        None,
        "decay of the moving average of the weights that is judged and kept, 0 = off",
        at_least=0,
        below=1,
        default_text="pomoe 0.998, published and other models 0",
    )
    select_on: str = training_flag(
        "valid",
        "rows that pick the best epoch; test reproduces the public code and is no honest figure",
        choices=("valid", "test"),
    )
    alpha: float | None = training_flag(None, "accepted for the public command line; no effect")
    lamb: float | None = training_flag(None, "accepted for the public command line; no effect")

    def __post_init__(self):
        super().__post_init__()
        if self.conflict > 0.5:
            raise ValueError(f"--conflict must be at most 0.5, got {self.conflict}.")
        for name in ("dirichlet_alpha", "ideal"):
            self.numbers(name)

    def check_usage(self) -> None:
        """ValueError for a given flag that the chosen model and preset have no use for."""
        pomoe = self.model_name == "pomoe"
        for name in PREFERENCE_FLAGS:
            if getattr(self, name) is not None and not pomoe:
                raise ValueError(f"--{name} is for --model_name pomoe, not {self.model_name}.")
        for name, owners in OWN_FLAGS.items():
            if getattr(self, name) is not None and self.model_name not in owners:
                raise ValueError(f"--{name} is for {owners[0]}, not {self.model_name}.")
        if pomoe and self.preset == "published":
            for name in PARETO_FLAGS:
                if getattr(self, name) is not None:
                    raise ValueError(f"--{name} is for --preset pareto; published has its own.")
        self.check_unused()

    def check_unused(self):
        """Refuse flags that another flag has switched off."""
        if self.anneal_power is not None and (self.sampler or "angles") != "annealed":
            raise ValueError(
                f"--anneal_power is for --sampler annealed, not {self.sampler or 'angles'}."
            )
        published = self.model_name == "pomoe" and self.preset == "published"
        if self.dirichlet_alpha is not None and not published and self.sampler != "dirichlet":
            raise ValueError("--dirichlet_alpha is for --sampler dirichlet.")
        if self.ideal is not None and (self.scalarisation or "linear") == "linear":
            raise ValueError("--ideal is for the non-linear --scalarisation choices.")

    def numbers(self, name: str) -> tuple[float, ...] | None:
        """The numbers of a comma-separated flag."""
        text = getattr(self, name)
        if text is None:
            return None
        try:
            return tuple(float(part) for part in text.split(","))
        except ValueError:
            raise ValueError(f"--{name} is {text!r}; give numbers such as 1,1.2.") from None

    def check_numbers(self, tasks: int) -> None:
        """ValueError for a flag of one number a task that has another number of them."""
        for name in ("ideal", "dirichlet_alpha"):
            values = self.numbers(name)
            if values is not None and len(values) != tasks:
                raise ValueError(
                    f"--{name} is {getattr(self, name)!r}; give {tasks} numbers, one a task."
                )

    def resolved(self, script: str, train_rows: int) -> "TaskConfig":
        """A copy with the value that is used in place of every None that has one."""
        averaged = self.model_name == "pomoe" and self.preset == "pareto"
        defaults = dict(
            averaging=AVERAGING if averaged else 0.0,
            batch_size=choose_batch_size(BATCH_SIZE, train_rows),
            init_seed=self.seed,
            save_dir=f"runs/{script}/{self.model_name}-{self.seed}",
        )
        if self.model_name == "aitm":
            defaults |= dict(calibrator=0.0)
        if self.model_name == "metaheac":
            defaults |= dict(meta_order="second")
        if self.model_name == "pomoe":
            defaults |= PUBLISHED if self.preset == "published" else PARETO
            defaults |= dict(anneal_power=2.0, reference_front=0)
            if self.preset == "published":
                defaults |= dict(dirichlet_alpha="1,1.2")
        return fill_missing(self, **defaults)
