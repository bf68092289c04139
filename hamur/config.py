"""Options of a run: a frozen dataclass whose fields are the command-line flags, help included.

The only argparse of the repository.  Another family of scripts subclasses or writes a dataclass
of `flag` fields and calls `from_flags` with it.
"""

import argparse
import dataclasses
import re
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

Names = Iterable[str] | Callable[[], Iterable[str]]

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

STEPS_PER_EPOCH = 16  # a small data set gets smaller batches rather than one step an epoch
SMALLEST_BATCH = 64


def flag(
    default,
    help: str,
    *,
    group: str,
    choices: Names | None = None,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    default_text: str | None = None,
):
    """A dataclass field that is also a command-line flag of the same name.

    A bool field with default False is a switch.  `choices` may be a function, called when needed,
    so that a dict of models stays the only list of their names.  None is always allowed and means
    'resolved later'; `default_text` then tells the reader to what.
    """
    metadata = dict(help=help, group=group, choices=choices, default_text=default_text)
    metadata |= dict(at_least=at_least, above=above, below=below)
    return dataclasses.field(default=default, metadata=metadata)


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


# Headings of --help.
data_flag, model_flag, training_flag, run_flag = (
    partial(flag, group=heading) for heading in ("data", "model", "training", "run")
)


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
        "cpu, gpu or ascend, with a card number as in ascend:1; cuda:0 and npu:0 are understood",
    )
    save_dir: str | None = run_flag(
        None,
        "folder of the results, created if missing",
        default_text="runs/<script>/<model>-<seed>",
    )
    save_predictions: bool = run_flag(
        False, "also write predictions.parquet with every test row's probability"
    )
    plot: bool = run_flag(False, "also write the learning curve and the AUC of each domain as PNG")
    quiet: bool = run_flag(False, "print nothing but the table of results")
    debug: bool = run_flag(False, "show the traceback of an error in data or options")

    def __post_init__(self):
        check_fields(self)

    def resolved(self, script: str, train_rows: int) -> "RankingConfig":
        """A copy with the value that is used in place of every None but the data's.

        script names the folder of the results; a small number of training rows gets a smaller
        batch, a power of two that leaves STEPS_PER_EPOCH steps.
        """
        batch_size = TRAINING[self.preset]["batch_size"]
        while batch_size > SMALLEST_BATCH and batch_size * STEPS_PER_EPOCH > train_rows:
            batch_size //= 2
        defaults = TRAINING[self.preset] | dict(
            batch_size=batch_size,
            init_seed=self.seed,
            save_dir=f"runs/{script}/{self.model_name}-{self.seed}",
        )
        if self.weight_decay is not None:  # given by the user, it concerns every parameter
            defaults["embedding_decay"] = self.weight_decay
        missing = {k: v for k, v in defaults.items() if getattr(self, k) is None}
        return dataclasses.replace(self, **missing)


def check_fields(config) -> None:
    """ValueError if a `flag` field of a configuration is not what its flag allows."""
    for field in dataclasses.fields(config):
        _check(field, getattr(config, field.name))
    if hasattr(config, "device"):
        parse_device(config.device)


def parse_device(text: str) -> tuple[str, int | None]:
    """MindSpore's name of a device and the card's number, if given: 'npu:1' -> ('Ascend', 1)."""
    targets = {"cpu": "CPU", "gpu": "GPU", "cuda": "GPU", "ascend": "Ascend", "npu": "Ascend"}
    match = re.fullmatch(r"([a-z]+)(?::(\d+))?", text.lower())
    if not match or match[1] not in targets:
        raise ValueError(
            f"--device is {text!r}; known are cpu, gpu and ascend, with a card as in ascend:1."
        )
    return targets[match[1]], int(match[2]) if match[2] else None


def from_flags(
    config_class: type,
    argv: Sequence[str] | None = None,
    description: str | None = None,
    **defaults,
):
    """Read a configuration from command-line flags (`sys.argv` if argv is None).

    `defaults` replace those of the class for this script.  Wrong usage ends the process with one
    line on stderr and exit code 2.
    """
    parser = _Parser(
        description=description,
        usage="%(prog)s [flags]",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fields, types = dataclasses.fields(config_class), typing.get_type_hints(config_class)
    names = dict.fromkeys(field.metadata["group"] for field in fields)
    groups = {name: parser.add_argument_group(name) for name in names}
    for field in fields:
        default = defaults.get(field.name, field.default)
        options = {"default": default, "help": _help(field, default)}
        if types[field.name] is bool:
            options["action"] = argparse.BooleanOptionalAction if default else "store_true"
        else:
            options["type"] = _plain_type(types[field.name])
            options["metavar"] = _metavar(field, options["type"])
        groups[field.metadata["group"]].add_argument(f"--{field.name}", **options)
    values = vars(parser.parse_args(argv))
    try:
        return config_class(**values)
    except ValueError as error:
        parser.error(str(error))


class _Parser(argparse.ArgumentParser):
    """Errors are one line, without the usage text: --help is one call away."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: error: {message}\n")


def _names(field: dataclasses.Field) -> list[str] | None:
    choices = field.metadata["choices"]
    return None if choices is None else list(choices() if callable(choices) else choices)


def _plain_type(annotation) -> type:
    """int of `int | None`."""
    return next(t for t in (*typing.get_args(annotation), annotation) if t is not type(None))


def _metavar(field: dataclasses.Field, plain: type) -> str:
    if field.metadata["choices"] is None:
        return {int: "N", float: "X", str: "TEXT"}[plain]
    return "NAME"


def _help(field: dataclasses.Field, default) -> str:
    meta = field.metadata
    text = meta["help"]
    if meta["choices"] is not None:
        text += f"; one of {', '.join(_names(field))}"
    if isinstance(default, bool):
        return text
    return f"{text} (default: {meta['default_text'] if default is None else default})"


def _check(field: dataclasses.Field, value):
    if value is None:
        return
    meta, name = field.metadata, f"--{field.name}"
    if meta["choices"] is not None and value not in (names := _names(field)):
        raise ValueError(f"{name} is {value!r}; known are {', '.join(names)}.")
    if meta["at_least"] is not None and not value >= meta["at_least"]:
        raise ValueError(f"{name} must be at least {meta['at_least']}, got {value}.")
    if meta["above"] is not None and not value > meta["above"]:
        raise ValueError(f"{name} must be greater than {meta['above']}, got {value}.")
    if meta["below"] is not None and not value < meta["below"]:
        raise ValueError(f"{name} must be less than {meta['below']}, got {value}.")
