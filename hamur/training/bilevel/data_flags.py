"""Flags of cross-domain scripts that say which pair is read, and which of its rows are seen."""

from dataclasses import dataclass

from hamur.data.cross_domain.join import ID_ORDERS
from hamur.training.bilevel.presets import data_flag, preset_flag


@dataclass(frozen=True)
class DataFlags:
    """The group "data"; None = the preset's value, or resolved later."""

    in_root: str | None = data_flag(
        None,
        "folder of raw Amazon files (reviews_<Category>_5.json[.gz], meta_<Category>.json[.gz]), "
        "of MovieLens-1M with --genres, or of an ABXI pair with --format abxi",
        default_text="the generated sample that comes with the repository",
    )
    format: str = data_flag(
        "amazon",
        "what --in_root holds; the sequence files of abxi have no ratings, see --train_negatives",
        choices=("amazon", "abxi"),
    )
    source_domain: int = data_flag(
        0, "number of the source domain in ABXI files", at_least=0, below=2
    )
    pair: str | None = data_flag(
        None, "source and target category, as Books,Toys_and_Games", default_text="the only pair"
    )
    genres: str | None = data_flag(
        None,
        "MovieLens-1M cut by the first genre of a movie: source and target genre, as Drama,Comedy",
        default_text="an Amazon pair",
    )
    source_table: str | None = data_flag(
        None, "csv, tsv or parquet of source behaviours", default_text="an Amazon pair"
    )
    target_table: str | None = data_flag(
        None, "the same of target behaviours, which names its users alike", default_text="as above"
    )
    columns: str = data_flag(
        "user=user,item=item,rating=rating,timestamp=timestamp",
        "columns of both tables by role, by name or by number from 1; also category=...; "
        "timestamp=none and rating=none where there is none",
    )
    sep: str | None = data_flag(
        None, "separator of both tables", default_text="comma, or tab in .tsv and .dat"
    )
    no_header: bool = data_flag(False, "the tables begin with a row of data")
    time_unit: str = data_flag("s", "unit of the timestamps", choices=("s", "ms"))
    rating_max: float = data_flag(5.0, "highest rating of the tables", above=0)
    positive_above: float = data_flag(3.0, "ratings of the tables above this are positive")
    train_negatives: int = data_flag(
        0,
        "unobserved items added after each positive row, as negative ones, in both domains; for "
        "tables without ratings, where validation and test get them too",
        at_least=0,
    )
    allow_same: bool = data_flag(False, "both tables may be the same file")
    split_seed: int = data_flag(
        2022, "seed of validation and test rows where there is no time", at_least=0
    )
    missing_meta: str = data_flag(
        "unknown",
        "category of an Amazon item without meta data",
        choices=("unknown", "others", "error"),
    )
    strict_meta: bool = data_flag(False, "also check the meta lines of items without review")
    on_bad_rows: str = data_flag(
        "error", "stop at a bad line, or leave it out and count it", choices=("error", "skip")
    )
    max_bad_fraction: float = data_flag(
        0.05, "share of bad lines at which skip stops too", at_least=0
    )
    dataname: str | None = data_flag(
        None, "name of the pair in the folders of the record", default_text="from the pair"
    )
    split: str = data_flag(
        "leave_two_out",
        "leave_two_out: each user's last target row is test, the one before validation",
        choices=("leave_two_out", "global_time"),
    )
    vocab: str | None = preset_flag(
        data_flag, "vocab", "rows that ids are made of", choices=("train", "all")
    )
    id_order: str = data_flag(
        "value",
        "ids of items and categories ascend with their names, or public: by first appearance, as "
        "the public code numbers them",
        choices=ID_ORDERS,
    )
    truth: str | None = data_flag(
        None,
        "truth.npz of a generated pair, for the report and the arm oracle; never used in training",
        default_text="none",
    )
    source_pool: str | None = preset_flag(
        data_flag,
        "source_pool",
        "source behaviours that may stand beside a row: earlier than it, or than the user's "
        "validation row",
        choices=("before_row", "before_valid"),
    )
    history: str | None = preset_flag(
        data_flag,
        "history",
        "causal: only what is strictly earlier; leaky: as published, where histories tell labels",
        choices=("causal", "leaky"),
    )
    missing_source: str | None = preset_flag(
        data_flag,
        "missing_source",
        "what a user without source behaviours gets: nothing, or source item 1 as published",
        choices=("none", "item_1"),
    )
