"""Options of a run: a frozen dataclass whose fields are also command-line flags, help included.

A family of scripts extends `RunOptions`, or writes a dataclass of `flag` fields and takes what it
shares with a run by `shared`; `hamur.commands.script.from_flags` reads the command line.
"""

import dataclasses
import math
import numbers
import os
import re
import reprlib
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

MIN_STEPS_PER_EPOCH = 16  # a small data set gets smaller batches rather than one step per epoch
MIN_BATCH_SIZE = 64
PLACES = ("save_dir", "out", "raw", "record", "exp_name")  # flags that name where to write
# Options that belong to one call and not to what it computes: no file of a run passes them on.
OF_A_CALL = (
    *PLACES,
    "config",
    "search",
    "track",
    "resume",
    "overwrite",
    "verify",
    "quiet",
    "debug",
)
EXTRAS = {"search": "optuna", "track": "tensorboardX"}  # flags, and the package that each needs
REQUIRED = "none: required"  # the default, in --help, of a flag that has none
# What a value given in Python or in a JSON file must be, and how the rule is told.
KINDS = {
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    bool: (numbers.Integral, "true or false"),
    str: ((str, os.PathLike), "text"),
}


def flag(
    default,
    help: str,
    *,
    group: str,
    choices: Iterable[str] | None = None,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    default_text: str | None = None,
    aliases: tuple[str, ...] = (),
    synonyms: Mapping[str, str] | None = None,
    parse: Callable[[str], object] | None = None,
):
    """A dataclass field that is also a command-line flag of the same name.

    A bool is given as --x, --no-x, or --x 0|1.  None is always allowed and means 'resolved later':
    to `default_text`, or else to the values in the `presets` of the configuration, which are
    {name: {option: value}}.
    aliases: other spellings of the flag, those of the public scripts among them.
    synonyms: {other spelling of a choice: the choice}, which `check_fields` replaces.
    parse: what makes the value of the text, for a field that is neither text nor number.
    """
    metadata = dict(help=help, group=group, choices=choices, default_text=default_text)
    metadata |= dict(at_least=at_least, above=above, below=below)
    metadata |= dict(aliases=aliases, synonyms=synonyms or {}, parse=parse)
    return dataclasses.field(default=default, metadata=metadata)


def comma_separated(text: str) -> tuple[str, ...]:
    """The names in a,b,c; a `parse` of flags."""
    return tuple(name for name in text.split(",") if name)


# One function per heading of --help that every family of scripts has.
data_flag, model_flag, training_flag, run_flag, encoding_flag = (
    partial(flag, group=heading) for heading in ("data", "model", "training", "run", "encoding")
)


@dataclass(frozen=True)
class RunOptions:
    """What every training run can be told; a family of scripts extends it by its own options.

    The names are those of `hamur.training.Trainer` where it has the option too.
    Raises:  ValueError: a value that its flag does not allow; names flag, rule and value.
    """

    epochs: int | None = training_flag(
        100,
        "maximum number of passes over the training rows; --patience usually ends a run earlier",
        at_least=1,
        aliases=("epoch",),
    )
    patience: int | None = training_flag(
        10, "epochs without a better validation result before training stops", at_least=1
    )
    learning_rate: float | None = training_flag(None, "step size of Adam", above=0, aliases=("lr",))
    batch_size: int | None = training_flag(
        None,
        f"rows per training step; a default is lowered until an epoch has {MIN_STEPS_PER_EPOCH} "
        "steps",
        at_least=2,
        aliases=("t_batchsize",),
    )
    seed: int = training_flag(
        2022,
        "seed of shuffling and sampling, and of the initial weights unless --init_seed is given; "
        "never of the split",
        at_least=0,
    )
    init_seed: int | None = training_flag(
        None, "seed of the initial weights", at_least=0, default_text="--seed"
    )
    resume: bool = run_flag(
        False,
        "continue the interrupted run in --save_dir, or begin where there is none; the result "
        "equals an uninterrupted run",
    )
    save_dir: str | None = run_flag(
        None,
        "folder of the results, created if missing",
        default_text="runs/<script>/<model>-<seed>",
    )
    checkpoint_minutes: float = run_flag(
        5.0, "time between two states that --resume goes on from, within an epoch", at_least=0
    )
    overwrite: bool = run_flag(
        False, "replace an unfinished run, or one of other data or options, in --save_dir"
    )
    device: str = run_flag(
        "cpu",
        "cpu, gpu or ascend (only cpu is tested), with a card number as in ascend:1; cuda:0 and "
        "npu:0 are accepted too",
    )
    verify: bool = run_flag(
        True, "hash a cache before its first use, half a second per GB; off saves that"
    )
    config: str | None = run_flag(
        None,
        "JSON file of options, such as the best.json of a search or the config.json of a run; "
        "flags override it",
        default_text="none",
    )
    search: int = run_flag(
        0,
        "instead of one run, search with this number of trials for the options of the training "
        "that are best on validation; 0 = off",
        at_least=0,
    )
    track: bool = run_flag(False, "also write every epoch's figures for TensorBoard")
    quiet: bool = run_flag(False, "print only the table of results")
    debug: bool = run_flag(False, "show the traceback of an error in data or options")
    # Names of the options that flags or --config gave, see `hamur.commands.script.from_flags`.
    given = frozenset()

    def __post_init__(self):
        check_fields(self)

    def changed(self, **options):
        """A copy with these options, of which `given` says what that of the original says."""
        copy = dataclasses.replace(self, **options)
        object.__setattr__(copy, "given", self.given)
        return copy


@dataclass(frozen=True)
class CommonOptions(RunOptions):
    """Further options of several families of scripts; a configuration takes them by `shared`."""

    dataset_path: str | None = data_flag(
        None,
        "the data set: a folder or file in one of the formats named in data/README.md",
        default_text="the generated sample that comes with the repository",
        aliases=("in_root",),
    )
    on_bad_rows: str = data_flag(
        "error",
        "error: stop at the first row that cannot be read; skip: leave such rows out, count them",
        choices=("error", "skip"),
    )
    max_bad_fraction: float = data_flag(
        0.05, "share of skipped rows above which a file is unusable", at_least=0
    )
    allow_leakage: tuple[str, ...] = data_flag(
        (), "columns, comma separated, that the leakage guard lets pass", parse=comma_separated
    )
    max_line_mib: int = data_flag(
        8, "longest line of text, in MiB; a longer one makes the file unusable", at_least=1
    )
    split_seed: int = data_flag(
        2022, "seed of a random split; no other seed moves a row", at_least=0
    )
    fit_on: str | None = data_flag(
        "train",
        "rows that vocabularies and scalers are fitted on; all, as in the public code, leaks the "
        "test rows",
        choices=("train", "all"),
        aliases=("vocab", "vocabulary"),
    )
    weight_decay: float | None = training_flag(
        None, "strength of the L2 term, or of the shrinkage of decoupled decay", at_least=0
    )
    averaging: float | None = training_flag(
        None,
        "decay per step of a moving average of the weights, which is what is evaluated and saved; "
        "0 = off",
        at_least=0,
        below=1,
    )


def shared(name: str, default=dataclasses.MISSING, **changes):
    """A field of RunOptions or CommonOptions, with another default, help or bound: for a
    configuration that changes it, or that has only some of them."""
    field = CommonOptions.__dataclass_fields__[name]
    default = field.default if default is dataclasses.MISSING else default
    return dataclasses.field(default=default, metadata={**field.metadata, **changes})


def hidden(config_class: type, name: str):
    """A field of a configuration for a class that extends it and sets it itself: always the
    default, and no flag."""
    field = config_class.__dataclass_fields__[name]
    return dataclasses.field(default=field.default, init=False, metadata=field.metadata)


def fill_missing(config, **values):
    """A copy of a configuration with these values in the place of None."""
    missing = {name: value for name, value in values.items() if getattr(config, name) is None}
    return dataclasses.replace(config, **missing)


def choose_batch_size(batch_size: int, train_rows: int) -> int:
    """`batch_size`, halved until an epoch has MIN_STEPS_PER_EPOCH steps, or MIN_BATCH_SIZE; then
    lowered while a last batch would hold a single row, which has no batch statistics."""
    while batch_size > MIN_BATCH_SIZE and batch_size * MIN_STEPS_PER_EPOCH > train_rows:
        batch_size //= 2
    return without_single_row(batch_size, train_rows)


def without_single_row(batch_size: int, rows: int) -> int:
    """`batch_size`, lowered while the last batch of the rows would hold a single one."""
    while rows > batch_size and rows % batch_size == 1:
        batch_size -= 1
    return batch_size


def check_fields(config) -> None:
    """Replace synonyms of choices; ValueError if a field is not what its flag allows."""
    types = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, str) and value in field.metadata["synonyms"]:
            value = field.metadata["synonyms"][value]
            object.__setattr__(config, field.name, value)  # still under construction
        check_field(field, plain_type(types[field.name]), value)
    for field in dataclasses.fields(config):
        if field.metadata["default_text"] == REQUIRED and getattr(config, field.name) is None:
            names = " or --".join((field.name, *field.metadata["aliases"]))
            raise ValueError(f"--{names} is missing: {field.metadata['help']}.")
    if hasattr(config, "device"):
        parse_device(config.device)


def check_extras(config) -> None:
    """ValueError: a flag needs a package that is not installed."""
    for extra, package in EXTRAS.items():
        if getattr(config, extra, None) and find_spec(package) is None:
            raise ValueError(f'--{extra} needs {package}: pip install -e ".[{extra}]"')


def parse_device(text: str) -> tuple[str, int | None]:
    """MindSpore's name of a device and the card's number, if given: 'npu:1' -> ('Ascend', 1)."""
    targets = {"cpu": "CPU", "gpu": "GPU", "cuda": "GPU", "ascend": "Ascend", "npu": "Ascend"}
    match = re.fullmatch(r"([a-z]+)(?::(\d+))?", text.lower())
    if not match or match[1] not in targets:
        raise ValueError(
            f"--device is {text!r}; known are cpu, gpu and ascend, with a card as in ascend:1."
        )
    return targets[match[1]], int(match[2]) if match[2] else None


def plain_type(annotation) -> type:
    """int of `int | None`."""
    return next(t for t in (*typing.get_args(annotation), annotation) if t is not type(None))


def check_field(field: dataclasses.Field, plain: type, value) -> None:
    """ValueError if a value is not what the flag of its field allows."""
    meta, name = field.metadata, f"--{field.name}"
    if value is None:
        return
    if field.name in PLACES and value == "":  # the current folder, to pathlib
        raise ValueError(f"{name} is empty; name a folder, or write . for the current one.")
    if meta["parse"] is None:
        kind, expected = KINDS[plain]
        if not isinstance(value, kind) or (isinstance(value, bool) and plain is not bool):
            raise ValueError(f"{name} must be {expected}, got {reprlib.repr(value)}.")
    if meta["choices"] is not None and value not in meta["choices"]:
        known = ", ".join(meta["choices"])
        raise ValueError(f"{name} is {reprlib.repr(value)}; known are {known}.")
    if meta["at_least"] is not None and not value >= meta["at_least"]:
        raise ValueError(f"{name} must be at least {meta['at_least']}, got {value}.")
    if meta["above"] is not None and not value > meta["above"]:
        raise ValueError(f"{name} must be greater than {meta['above']}, got {value}.")
    if meta["below"] is not None and not value < meta["below"]:
        raise ValueError(f"{name} must be less than {meta['below']}, got {value}.")
    if plain is float and not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}.")
