"""Options of the multi-domain ranking scripts, and what each preset trains with."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from hamur.config import (
    STEPS_PER_EPOCH,
    check_fields,
    data_flag,
    fitting_batch,
    model_flag,
    run_flag,
    training_flag,
)

# What each preset trains with where no flag says otherwise.
PUBLISHED = dict(
    learning_rate=1e-3,
    weight_decay=1e-5,
    embedding_decay=1e-5,
    decay="coupled",
    schedule="constant",
    averaging=0.0,
    batch_size=4096,
)
# Chosen on MovieLens-1M's validation split, the same for plain and adapter models (README).
TUNED = PUBLISHED | dict(embedding_decay=1e-3, averaging=0.998, batch_size=2048)
TRAINING = {"paper": PUBLISHED, "official": PUBLISHED, "best": TUNED}


def _by_preset(option: str) -> str:
    """The default of an option, told per preset where presets differ."""
    values = {preset: options[option] for preset, options in TRAINING.items()}
    if len(set(values.values())) == 1:
        return str(values.popitem()[1])
    return ", ".join(f"{preset} {value}" for preset, value in values.items())


def _models() -> Iterable[str]:
    from hamur import models  # MindSpore is loaded only when a name has to be checked

    return models.RANKING


def _presets() -> Iterable[str]:
    from hamur.layers.adapter_config import PRESETS

    return PRESETS


@dataclass(frozen=True)
class RankingConfig:
    """Options of the multi-domain ranking scripts.

    Raises:  ValueError: an unknown model, preset, criterion, ..., or a number out of its range;
        the text names the flag, the rule and the value.
    """

    dataset_path: str | None = data_flag(
        None,
        "the data set: a folder or file in one of the formats named in data/README.md",
        default_text="the generated sample that comes with the repository",
    )
    split: str | None = data_flag(
        None,
        "how rows are divided into training, validation and test; the data set knows its rules",
        default_text="the published rule of the data set",
    )
    split_seed: int = data_flag(
        2022, "seed of a random split; no other seed moves a row", at_least=0
    )
    fit_on: str = data_flag(
        "train",
        "rows that vocabularies and scalers are fitted on; all reproduces the public code, which "
        "knows the test rows",
        choices=("train", "all"),
    )
    on_bad_rows: str = data_flag(
        "error",
        "error: stop at the first row that cannot be read; skip: leave such rows out, count them",
        choices=("error", "skip"),
    )
    genres: str | None = data_flag(
        None,
        "MovieLens: first takes a movie's first genre, multi the mean over all its genres",
        choices=("first", "multi"),
        default_text="first, or what a prepared cache holds",
    )
    multi: str | None = data_flag(
        None,
        "Ali-CCP: of a list of ids take the last entry, or from raw files the mean over all",
        choices=("last", "mean"),
        default_text="last, or what a prepared cache holds",
    )
    pool_weight: str | None = data_flag(
        None,
        "what an entry counts in such a mean: uniform 1, value its value",
        choices=("uniform", "value"),
        default_text="uniform",
    )
    drop: str | None = data_flag(
        None,
        "features to leave out, joined by commas: age, domain_indicator, ...",
        default_text="none",
    )
    model_name: str = model_flag("mlp_adp", "the network", choices=_models)
    preset: str = model_flag(
        "best",
        "paper: as the paper draws it; official: as the authors' code computes, its defects "
        "included; best: chosen on validation data",
        choices=_presets,
    )
    epoch: int = training_flag(
        100,
        "passes over the training rows, at most; --patience ends most runs long before",
        at_least=1,
    )
    learning_rate: float | None = training_flag(
        None, "step size of Adam", above=0, default_text=_by_preset("learning_rate")
    )
    batch_size: int | None = training_flag(
        None,
        "rows of a training step",
        at_least=2,
        default_text=f"{_by_preset('batch_size')}; less if an epoch had under "
        f"{STEPS_PER_EPOCH} steps",
    )
    weight_decay: float | None = training_flag(
        None,
        "strength of the L2 term (coupled) or of the shrinkage (decoupled)",
        at_least=0,
        default_text=_by_preset("weight_decay"),
    )
    decay: str | None = training_flag(
        None,
        "coupled: L2 added to every gradient, as published; decoupled: AdamW on embeddings and "
        "dense kernels only",
        choices=("coupled", "decoupled"),
        default_text=_by_preset("decay"),
    )
    schedule: str | None = training_flag(
        None,
        "learning rate over time; the published runs keep it constant",
        choices=("constant", "cosine"),
        default_text=_by_preset("schedule"),
    )
    embedding_decay: float | None = training_flag(
        None,
        "strength of the decay on the embeddings alone",
        at_least=0,
        default_text=f"{_by_preset('embedding_decay')}; --weight_decay where that is given",
    )
    embeddings: str = training_flag(
        "dense",
        "lazy: a step updates the rows of its batch only, without decay; other numbers than Adam, "
        "faster from some 3 million rows of the table",
        choices=("dense", "lazy"),
    )
    averaging: float | None = training_flag(
        None,
        "decay per step of a moving average of the weights, which is what is evaluated and saved; "
        "0 = off",
        at_least=0,
        below=1,
        default_text=_by_preset("averaging"),
    )
    criterion: str = training_flag(
        "auc",
        "validation figure that picks the best epoch: over all rows, the mean over domains, or "
        "the worst domain",
        choices=("auc", "macro_auc", "worst_auc"),
    )
    patience: int = training_flag(
        10, "epochs without improvement of the criterion before training stops", at_least=1
    )
    seed: int = training_flag(
        2022,
        "seed of shuffling, and of the initial weights unless --init_seed is given; never of the "
        "split",
        at_least=0,
    )
    init_seed: int | None = training_flag(
        None, "seed of the initial weights", at_least=0, default_text="--seed"
    )
    resume: bool = training_flag(
        False, "continue the interrupted run in --save_dir; the result equals an uninterrupted run"
    )
    device: str = run_flag(
        "cpu",
        "cpu, gpu or ascend (only cpu is tested), with a card number as in ascend:1; cuda:0 and "
        "npu:0 are understood",
    )
    save_dir: str | None = run_flag(
        None,
        "folder of the results, created if missing",
        default_text="runs/<script>/<model>-<seed>",
    )
    overwrite: bool = run_flag(
        False, "replace an unfinished run, or one of other data or options, in --save_dir"
    )
    save_predictions: bool = run_flag(
        False, "also write predictions.parquet with every test row's probability"
    )
    plot: bool = run_flag(False, "also write the learning curve and the AUC of each domain as PNG")
    quiet: bool = run_flag(False, "print nothing but the table of results")
    debug: bool = run_flag(False, "show the traceback of an error in data or options")

    def __post_init__(self):
        check_fields(self)
        if self.embeddings == "lazy" and self.embedding_decay:
            raise ValueError("--embeddings lazy has no decay; leave --embedding_decay out.")

    def resolved(self, script: str, train_rows: int) -> "RankingConfig":
        """A copy with the value that is used in place of every None but the data's.

        script names the folder of the results; a small number of training rows gets a smaller
        batch, a power of two that leaves STEPS_PER_EPOCH steps.
        """
        defaults = TRAINING[self.preset] | dict(
            batch_size=fitting_batch(TRAINING[self.preset]["batch_size"], train_rows),
            init_seed=self.seed,
            save_dir=f"runs/{script}/{self.model_name}-{self.seed}",
        )
        if self.weight_decay is not None:  # given by the user, it concerns every parameter
            defaults["embedding_decay"] = self.weight_decay
        if self.embeddings == "lazy":
            defaults["embedding_decay"] = 0.0
        missing = {k: v for k, v in defaults.items() if getattr(self, k) is None}
        return dataclasses.replace(self, **missing)
