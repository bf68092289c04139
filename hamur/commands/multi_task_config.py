"""Options of the multi-task script."""

from dataclasses import dataclass
from functools import partial

from hamur.commands.multi_task_presets import BATCH_SIZE, TaskPresets
from hamur.config import (
    STEPS_PER_EPOCH,
    check_fields,
    data_flag,
    flag,
    model_flag,
    run_flag,
    training_flag,
)

front_flag = partial(flag, group="preferences and front")

COUNTRIES = ("NL", "ES", "FR", "US", "RU")
SYNTHETIC = "Synthetic"
DATA_SETS = (*(f"AliExpress_{country}" for country in COUNTRIES), SYNTHETIC)


def _lazy(module: str, name: str):
    """The names in a dict or tuple of a module that loads MindSpore, when they are needed."""

    def names():
        from importlib import import_module

        return getattr(import_module(module), name)

    return names


@dataclass(frozen=True)
class TaskConfig(TaskPresets):
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
    model_name: str = model_flag(
        "metaheac", "the network", choices=_lazy("hamur.models", "MULTI_TASK")
    )
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
        choices=_lazy("hamur.models.metaheac", "META_ORDERS"),
        default_text="second",
    )
    head: str | None = model_flag(
        None,
        "pomoe: a tower a task, or one score for all tasks, whose front is a true trade-off",
        choices=_lazy("hamur.models.pomoe", "HEADS"),
        default_text="per_task",
    )
    gate: str | None = model_flag(
        None,
        "pomoe: how the gates read the instance",
        choices=_lazy("hamur.layers.preference", "GATES"),
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
        choices=_lazy("hamur.models.pomoe", "EXPERT_KINDS"),
        default_text="mlp",
    )
    tower_norm: str | None = model_flag(
        None,
        "pomoe: the towers' norm",
        choices=_lazy("hamur.layers.preference_towers", "TOWER_NORMS"),
        default_text="conditional",
    )
    scalarisation: str | None = front_flag(
        None,
        "pomoe: how a preference weighs the losses",
        choices=_lazy("hamur.training.preference.scalarise", "SCALARISATIONS"),
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
        choices=_lazy("hamur.training.preference.samplers", "SAMPLERS"),
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
    epoch: int = training_flag(50, "passes over the training rows, at most", at_least=1)
    learning_rate: float = training_flag(3e-4, "step size of Adam", above=0)
    batch_size: int | None = training_flag(
        None,
        "rows of a training step",
        at_least=2,
        default_text=f"{BATCH_SIZE}; less if an epoch had under {STEPS_PER_EPOCH} steps",
    )
    weight_decay: float = training_flag(1e-6, "strength of the L2 term", at_least=0)
    averaging: float | None = training_flag(
        None,
        "decay of the moving average of the weights that is judged and kept, 0 = off",
        at_least=0,
        below=1,
        default_text="pomoe 0.998, published and other models 0",
    )
    patience: int = training_flag(2, "epochs without gain before training stops", at_least=1)
    select_on: str = training_flag(
        "valid",
        "rows that pick the best epoch; test reproduces the public code and is no honest figure",
        choices=("valid", "test"),
    )
    alpha: float | None = training_flag(None, "accepted for the public command line; no effect")
    lamb: float | None = training_flag(None, "accepted for the public command line; no effect")
    seed: int = training_flag(1, "seed of shuffling, preferences and dropout", at_least=0)
    init_seed: int | None = training_flag(
        None, "seed of the initial weights", at_least=0, default_text="--seed"
    )
    resume: bool = training_flag(
        False, "continue the interrupted run in --save_dir; the result equals an uninterrupted run"
    )
    device: str = run_flag("cpu", "cpu, gpu or ascend (only cpu is tested), with a card: ascend:1")
    save_dir: str | None = run_flag(
        None,
        "folder of the results, created if missing",
        default_text="runs/<script>/<model>-<seed>",
    )
    overwrite: bool = run_flag(
        False, "replace an unfinished run, or one of other data or options, in --save_dir"
    )
    quiet: bool = run_flag(False, "print nothing but the table of results")
    debug: bool = run_flag(False, "show the traceback of an error in data or options")

    def __post_init__(self):
        check_fields(self)
        if self.conflict > 0.5:
            raise ValueError(f"--conflict must be at most 0.5, got {self.conflict}.")
        for name in ("dirichlet_alpha", "ideal"):
            self.numbers(name)
