"""The command behind examples/make_synthetic.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hamur.commands.script import command
from hamur.config import check_fields, flag, from_flags
from hamur.data import synthetic
from hamur.data.synthetic.amazon import PLANTS


@dataclass(frozen=True)
class SyntheticConfig:
    """Generated files in the raw formats of the real data sets."""

    dataset: str = flag("ali-ccp", "the data set", group="data", choices=synthetic.GENERATORS)
    rows: int = flag(100_000, "rows of the (training) file", group="data", at_least=1)
    test_rows: int | None = flag(
        None, "rows of the test file of ali-ccp and aliexpress", group="data", at_least=1,
        default_text="half as many",
    )  # fmt: skip
    out: str | None = flag(None, "folder to write into", group="data")
    seed: int = flag(2022, "same seed, same bytes", group="signal", at_least=0)
    signal: float | None = flag(
        None, "strength of what all domains share", group="signal", default_text="by data set"
    )
    domain_shift: float | None = flag(
        None, "strength of what differs between domains", group="signal",
        default_text="by data set",
    )  # fmt: skip
    list_entries: float | None = flag(
        None, "ali-ccp: entries of a common row's lists (real: 613)", group="data", above=0,
        default_text="25",
    )  # fmt: skip
    conversion: float | None = flag(
        None, "ali-ccp: conversions per impression", group="signal", above=0,
        default_text="0.000214",
    )  # fmt: skip
    countries: str | None = flag(
        None, "aliexpress: NL,ES,FR,US,RU or some of them", group="data", default_text="NL"
    )
    task_conflict: float | None = flag(
        None, "aliexpress: 0 what is clicked is bought, 0.5 unrelated, 1 the opposite",
        group="signal", at_least=0, default_text="0.25",
    )  # fmt: skip
    users: int | None = flag(
        None, "amazon: users of both categories", group="data", at_least=1,
        default_text="rows / 20",
    )  # fmt: skip
    pair: str | None = flag(
        None, "amazon: names of the two categories", group="data", default_text="SynBooks,SynToys"
    )
    plant: str | None = flag(
        None, "amazon: what harmful source behaviours are", group="signal", choices=PLANTS,
        default_text="independent",
    )  # fmt: skip
    harmful_categories: int | None = flag(
        None, "amazon: source categories that are harmful", group="signal", at_least=0,
        default_text="8 of 12",
    )  # fmt: skip
    harmful_users: float | None = flag(
        None, "amazon: share of users all of whose source rows are harmful", group="signal",
        at_least=0, default_text="0",
    )  # fmt: skip
    extra_users: float | None = flag(
        None, "amazon: share of users more in one category only", group="data", at_least=0,
        default_text="0",
    )  # fmt: skip
    missing_meta_share: float | None = flag(
        None, "amazon: share of items without meta data", group="data", at_least=0,
        default_text="0.01",
    )  # fmt: skip
    format: str = flag(
        "raw", "raw files, or the processed CSVs of ali-ccp and aliexpress", group="data",
        choices=("raw", "processed"),
    )  # fmt: skip
    overwrite: bool = flag(False, "write into --out though it is not empty", group="run")
    debug: bool = flag(False, "show the traceback of an error", group="run")

    def __post_init__(self):
        check_fields(self)
        if self.out is None:
            raise ValueError("--out is missing: make_synthetic needs --out DIR.")


def make_synthetic(config: SyntheticConfig) -> None:
    """Writes the files and, beside the folder, what only the generator knows.

    Raises:  ValueError: the folder holds files, and --overwrite is not given.
    """
    out = Path(config.out)
    if not config.overwrite and out.is_dir() and any(out.iterdir()):
        raise ValueError(f"--out {out} is not empty; choose another folder, or --overwrite.")
    names = (
        "test_rows", "signal", "domain_shift", "list_entries", "conversion",
        "countries", "task_conflict",
        "users", "pair", "plant", "harmful_categories", "harmful_users", "extra_users",
        "missing_meta_share",
    )  # fmt: skip
    given = {name: getattr(config, name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    truth = synthetic.generate(
        config.dataset, config.format, config.out, config.rows, config.seed, given
    )
    print(f"{out}: {config.rows:,} rows, generated from seed {config.seed}; no row is real")
    for part, figures in truth.items():
        best = figures["bayes_auc"]
        print(f"{part}: best possible AUC {'n/a, one class' if best is None else f'{best:.4f}'}")


def main_synthetic(script: str, description: str, argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 when the files are written."""
    config = from_flags(SyntheticConfig, argv, description)
    with command(script, config.debug, "run it again with --overwrite") as outcome:
        make_synthetic(config)
    return outcome.code
