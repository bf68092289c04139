"""The command behind examples/prepare_data.py."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hamur.commands.script import command
from hamur.config import check_fields, flag, from_flags
from hamur.data import cache
from hamur.data.ali_ccp.columns import MAX_LEN, MULTI
from hamur.data.amazon.load import MISSING_META
from hamur.data.cross_domain.join import ID_ORDERS, VOCABULARIES
from hamur.data.cross_domain.storage import EXPORT, export_biao_json, open_pair
from hamur.data.detect import DATASETS
from hamur.data.movielens.load import GENRES
from hamur.data.streaming.prepare import prepare
from hamur.data.streaming.statistics import as_table
from hamur.data.text import download
from hamur.data.text.bad_rows import MODES, Policy


@dataclass(frozen=True)
class PrepareConfig:
    """Raw files -> a cache that the training scripts take as --dataset_path."""

    dataset: str = flag("ali-ccp", "the data set", group="data", choices=DATASETS)
    raw: str | None = flag(None, "folder of the raw files", group="data")
    out: str | None = flag(
        None, "folder of the cache, absent or complete at any time", group="data"
    )
    split: str | None = flag(
        None,
        "rule that divides the rows; ml-1m: random, temporal, user_temporal; ali-ccp: public, hash",
        group="encoding",
        default_text="the published one",
    )
    split_seed: int | None = flag(
        None, "seed of the split", group="encoding", at_least=0, default_text="2022"
    )
    fit_on: str | None = flag(
        None, "rows for vocabularies and scalers", group="encoding", choices=("train", "all"),
        default_text="train",
    )  # fmt: skip
    min_count: int | None = flag(
        None, "training rows that an id needs to be known", group="encoding", at_least=1,
        default_text="10 for ali-ccp, else 1",
    )  # fmt: skip
    multi: str | None = flag(
        None, "ali-ccp: keep of a list of ids the last entry, or the list for means of embeddings",
        group="encoding", choices=MULTI, default_text="last",
    )  # fmt: skip
    max_len: int | None = flag(
        None, "ali-ccp, --multi mean: entries of a list to keep, those of largest value",
        group="encoding", at_least=1, default_text=str(MAX_LEN),
    )  # fmt: skip
    genres: str | None = flag(
        None, "ml-1m: keep a movie's first genre, or all for the mean of their embeddings",
        group="encoding", choices=GENRES, default_text="first",
    )  # fmt: skip
    labels: str | None = flag(
        None, "click or click,purchase", group="encoding", default_text="click"
    )
    domain_map: str | None = flag(
        None,
        "RAW=0,RAW=1,RAW=2: domains of the raw ids of field 301",
        group="encoding",
        default_text="by first appearance",
    )
    limit_rows: int | None = flag(
        None, "read only the first N rows of each skeleton file", group="data", at_least=1,
        default_text="all",
    )  # fmt: skip
    on_bad_rows: str = flag(
        "error", "stop at the first bad row, or skip and count them", group="checks", choices=MODES
    )
    max_bad_fraction: float = flag(
        0.05, "share of skipped rows above which a file is unusable", group="checks", at_least=0
    )
    check_feature_num: bool = flag(
        False, "a feature_num that differs from the list's length is an error", group="checks"
    )
    allow_leakage: str = flag(
        "", "columns, joined by commas, that the leakage guard lets pass", group="checks"
    )
    valid_fraction: float | None = flag(
        None, "aliexpress: share of the training rows for validation", group="encoding", above=0,
        default_text="0.1",
    )  # fmt: skip
    pair: str | None = flag(
        None, "amazon: source and target category, joined by a comma", group="data",
        default_text="Books,Toys_and_Games, or the two that are there",
    )  # fmt: skip
    countries: str | None = flag(
        None, "aliexpress: which countries, in the order of the domains", group="data",
        default_text="all that are there",
    )  # fmt: skip
    vocabulary: str | None = flag(
        None, "amazon: rows for vocabularies", group="encoding", choices=VOCABULARIES,
        default_text="train",
    )  # fmt: skip
    id_order: str | None = flag(
        None, "amazon: ids of items and categories ascend with their names, or public: by first "
        "appearance, as the public BIAO code numbers them", group="encoding", choices=ID_ORDERS,
        default_text="value",
    )  # fmt: skip
    missing_meta: str | None = flag(
        None, "amazon: what an item without meta data is", group="checks", choices=MISSING_META,
        default_text="unknown",
    )  # fmt: skip
    strict_meta: bool = flag(
        False, "amazon: also parse the meta data of items that nobody reviewed", group="checks"
    )
    export: str | None = flag(
        None, "amazon: also write the files that the public BIAO code reads, to OUT/biao_json",
        group="data", choices=(EXPORT,), default_text="none",
    )  # fmt: skip
    download: bool = flag(
        False, "ml-1m: fetch it from its official address into --raw first", group="data"
    )
    zip: str | None = flag(
        None, "ml-1m: unpack this archive into --raw first", group="data", default_text="none"
    )
    expect: str | None = flag(
        None, "none: do not compare a complete file with the published counts", group="checks",
        choices=("none",), default_text="compare",
    )  # fmt: skip
    workers: int | None = flag(
        None, "processes", group="run", at_least=1, default_text="by size and cores, up to 4"
    )
    overwrite: bool = flag(False, "replace a cache of other files or options", group="run")
    verify: bool = flag(False, "check every byte of the finished cache", group="run")
    quiet: bool = flag(False, "no progress bars", group="run")
    debug: bool = flag(False, "show the traceback of an error in data or options", group="run")

    def __post_init__(self):
        check_fields(self)
        for name in ("raw", "out"):
            if getattr(self, name) is None:
                raise ValueError(f"--{name} is missing: prepare_data needs --raw DIR --out DIR.")
        if self.export and self.dataset != "amazon":
            raise ValueError(f"--export does not apply to --dataset {self.dataset}.")
        if self.export and self.vocabulary != "all":
            raise ValueError(f"--export {EXPORT} needs --vocabulary all: an id for every item.")

    def fetch(self) -> Path:
        """The folder of the raw files, which --download and --zip fill.

        Raises:  ValueError: for another data set; says what to fetch by hand.
        """
        raw = Path(self.raw).expanduser()
        if not (self.download or self.zip):
            return raw
        if self.dataset != "ml-1m":
            raise ValueError(download.instructions(self.dataset, raw))
        if self.zip:
            return download.extract(Path(self.zip).expanduser(), raw / "ml-1m")
        return download.download_ml1m(raw, quiet=self.quiet)

    def options(self):
        """The data set's own options; ValueError for a flag that it does not have."""
        kind = DATASETS[self.dataset].options
        known = {field.name for field in dataclasses.fields(kind)}
        given = {"policy": Policy(self.on_bad_rows, self.max_bad_fraction)}
        for name in ("split", "split_seed", "fit_on", "min_count", "limit_rows"):
            given[name] = getattr(self, name)
        for name in ("valid_fraction", "vocabulary", "id_order", "missing_meta", "multi"):
            given[name] = getattr(self, name)
        for name in ("max_len", "genres"):
            given[name] = getattr(self, name)
        given["strict_meta"] = self.strict_meta or None
        for name in ("pair", "countries"):
            given[name] = getattr(self, name) and _names(getattr(self, name))
        given["labels"] = self.labels and tuple(self.labels.split(","))
        given["domain_map"] = self.domain_map and _domain_map(self.domain_map)
        given["check_feature_num"] = self.check_feature_num or None
        given["check_statistics"] = False if self.expect == "none" else None
        if "allow_leakage" in known:
            given["allow_leakage"] = _names(self.allow_leakage)
        given = {name: value for name, value in given.items() if value is not None}
        for name in given:
            if name not in known:
                flag_name = "expect" if name == "check_statistics" else name
                raise ValueError(f"--{flag_name} does not apply to --dataset {self.dataset}.")
        return kind(**given)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _domain_map(text: str) -> dict[int, int]:
    try:
        pairs = [part.split("=") for part in text.split(",")]
        found = {int(raw): int(domain) for raw, domain in pairs}
    except ValueError:
        raise ValueError(f"--domain_map is {text!r}; write it as RAW=0,RAW=1,RAW=2.") from None
    return found


def prepare_data(config: PrepareConfig) -> None:
    """Prepares, and prints the statistics that stats.json holds."""
    made = prepare(
        DATASETS[config.dataset],
        config.fetch(),
        config.out,
        config.options(),
        config.workers,
        config.quiet,
        config.overwrite,
        _names(config.allow_leakage),
    )
    if config.verify:
        cache.open_cache(made.folder, verify=True)
    if config.export:
        export_biao_json(open_pair(made.folder), made.folder / EXPORT)
    print(as_table(made.stats))
    done = f"{made.jobs_done} jobs done, {made.jobs_reused} found done" if made.jobs_done else ""
    print(f"\n{made.folder}" + (f" ({done})" if done else ""))


def main_prepare(script: str, description: str, argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 when the cache is complete."""
    config = from_flags(PrepareConfig, argv, description)
    resume_hint = "the same command continues after the last finished part"
    with command(script, config.debug, resume_hint) as outcome:
        prepare_data(config)
    return outcome.code
