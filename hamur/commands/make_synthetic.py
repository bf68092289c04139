"""The command behind examples/make_synthetic.py."""

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hamur.commands.script import command, from_flags
from hamur.config import REQUIRED, check_fields, data_flag, flag, run_flag, shared

# Repeated from `hamur.data.synthetic`, which --help is not to wait for; a test compares.
DATASETS = ("ml-1m", "ali-ccp", "aliexpress", "amazon")
PLANTS = ("independent", "random", "invert", "none")

signal_flag = partial(flag, group="signal")


@dataclass(frozen=True)
class GeneratorOptions:
    """Options of the generators; None takes the generator's default.  Each has some of them."""

    test_rows: int | None = data_flag(
        None,
        "ali-ccp, aliexpress: rows of the test file",
        at_least=1,
        default_text="half as many as --rows",
    )
    list_entries: float | None = data_flag(
        None,
        "ali-ccp: mean number of entries in the lists of a common row (real data: 613)",
        above=0,
        default_text="25",
    )
    countries: str | None = data_flag(
        None, "aliexpress: some of NL,ES,FR,US,RU, comma separated", default_text="NL"
    )
    users: int | None = data_flag(
        None, "amazon: users of both categories", at_least=1, default_text="rows / 20"
    )
    pair: str | None = data_flag(
        None, "amazon: names of the two categories", default_text="SynBooks,SynToys"
    )
    extra_users: float | None = data_flag(
        None, "amazon: share of users more in one category only", at_least=0, default_text="0"
    )
    missing_meta_share: float | None = data_flag(
        None, "amazon: share of items without meta data", at_least=0, default_text="0.01"
    )
    signal: float | None = signal_flag(
        None,
        "ml-1m, ali-ccp, aliexpress: strength of what all domains share",
        default_text="by data set",
    )
    domain_shift: float | None = signal_flag(
        None, "ml-1m, ali-ccp: strength of what differs between domains", default_text="by data set"
    )
    conversion: float | None = signal_flag(
        None,
        "ali-ccp: conversions per impression, with --format processed per click",
        above=0,
        default_text="0.000214, or 0.15",
    )
    task_conflict: float | None = signal_flag(
        None,
        "aliexpress: 0 what is clicked is bought, 0.5 unrelated, 1 the opposite",
        at_least=0,
        default_text="0.25",
    )
    plant: str | None = signal_flag(
        None,
        "amazon: how harmful source ratings are drawn: by an independent taste, at random, or "
        "inverted",
        choices=PLANTS,
        default_text="independent",
    )
    harmful_categories: int | None = signal_flag(
        None,
        "amazon: number of source categories that are harmful",
        at_least=0,
        default_text="8 of 12",
    )
    harmful_users: float | None = signal_flag(
        None,
        "amazon: share of users all of whose source rows are harmful",
        at_least=0,
        default_text="0",
    )


@dataclass(frozen=True)
class SyntheticConfig(GeneratorOptions):
    """Generated files in the raw formats of the real data sets."""

    dataset: str = data_flag("ali-ccp", "the data set", choices=DATASETS)
    rows: int = data_flag(100_000, "rows of the (training) file", at_least=100)
    out: str | None = data_flag(None, "folder to write into", default_text=REQUIRED)
    format: str = data_flag(
        "raw",
        "raw files, or the processed CSVs of ali-ccp and aliexpress",
        choices=("raw", "processed"),
    )
    seed: int = signal_flag(2022, "seed of all draws: same seed, same bytes", at_least=0)
    overwrite: bool = run_flag(False, "write into --out even if it is not empty")
    debug: bool = shared("debug")

    def __post_init__(self):
        check_fields(self)


def make_synthetic(config: SyntheticConfig) -> None:
    """Write the files and, beside the folder, what only the generator knows.

    Raises:  OSError: a file cannot be written; a folder that was empty is removed with what was
        begun in it, which nothing tells from complete files.
        ValueError: the folder holds files, and --overwrite is not given; an option that the
        generator does not have.
    """
    from hamur.data.synthetic import generate

    out = Path(config.out)
    empty = not out.is_dir() or not any(out.iterdir())
    if not config.overwrite and not empty:
        raise ValueError(f"--out {out} is not empty; choose another folder, or --overwrite.")
    options = {f.name: getattr(config, f.name) for f in dataclasses.fields(GeneratorOptions)}
    options = {name: value for name, value in options.items() if value is not None}
    try:
        truth = generate(config.dataset, config.format, out, config.rows, config.seed, options)
    except OSError as error:
        if empty:
            shutil.rmtree(out, ignore_errors=True)
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(out)) from None
        raise
    print(f"{out}: {config.rows:,} rows, generated from seed {config.seed}; no row is real")
    for part, figures in truth.items():
        best = figures["bayes_auc"]
        print(f"{part}: best possible AUC {'n/a, one class' if best is None else f'{best:.4f}'}")


def main_synthetic(script: str, description: str, argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 when the files are written."""
    config = from_flags(SyntheticConfig, argv, description)
    work = partial(make_synthetic, config)
    hint = "run it again with --overwrite"
    return command(script, config, work, hint, compiles=False)
