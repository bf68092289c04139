"""Processed CSV files of the Scenario-Wise-Rec benchmark: KuaiRand, Douban, MIND, Amazon-3.

One description per set.  Columns that are known only after the click (play_time_ms and the like)
are no features.
"""

import dataclasses
from pathlib import Path

from hamur.data.build_tables import Encoding, check_classes
from hamur.data.columns import Columns, Domain
from hamur.data.loading import TableSource, find_files, load_tables
from hamur.data.parquet import is_parquet
from hamur.data.schema import Schema
from hamur.data.splits import Split
from hamur.data.table import Splits
from hamur.data.text.bad_rows import MAX_LINE_MIB, Policy
from hamur.data.text.cells import MISSING_WORDS
from hamur.data.text.reader import column_names


def _columns(
    domain: Domain,
    label: str,
    sparse: tuple[str, ...],
    dense: tuple[str, ...] = (),
    ignore: tuple[str, ...] = (),
) -> Columns:
    """The user is the first sparse column; cells that print whole numbers as 1.0 are the number."""
    kinds = dict.fromkeys((*sparse, domain.column), "code") | dict.fromkeys(dense, "float")
    kinds |= {label: "int"}
    return Columns(
        kinds, {label: label}, sparse, dense, domain=domain, group=sparse[0], ignore=ignore
    )


_COUNTS = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
KUAIRAND = _columns(
    Domain("tab", {f"tab={tab}": (tab,) for tab in "01246"}, drop_others=True),
    label="is_click",
    sparse=(
        *("user_id", "video_id"),
        *("user_active_degree", "is_lowactive_period", "is_live_streamer", "is_video_author"),
        *(f"{count}_range" for count in _COUNTS),
        *(f"onehot_feat{n}" for n in range(18)),
        *("video_type", "visible_status", "server_width", "server_height"),
    ),
    dense=_COUNTS,
    ignore=("play_time_ms", "duration_ms", "profile_stay_time", "comment_stay_time"),
)
AMAZON_3 = _columns(
    Domain(
        "domain_indicator",
        {
            "Beauty": ("0",),
            "Clothing_Shoes_and_Jewelry": ("1",),
            "Health_and_Personal_Care": ("2",),
        },
    ),
    label="label",
    sparse=("user", "item"),
)
DOUBAN = _columns(
    Domain("domain", {name: (name,) for name in ("book", "music", "movie")}),
    label="rating",
    sparse=("user_id", "item_id", "living_place", "time_bin"),
    ignore=("join_time",),
)
# The public converter numbers Book 0, Movie 1, Music 2.
_NUMBERED = Domain("domain_id", {"book": ("0",), "music": ("2",), "movie": ("1",)})
DOUBAN_NUMBERED = _columns(_NUMBERED, "rating", DOUBAN.sparse, ignore=DOUBAN.ignore)
MIND = _columns(
    Domain("Category", {name: (name,) for name in ("news", "lifestyle", "sports", "finance")}),
    label="label",
    sparse=("User_ID", "News_ID", "SubCategory"),
)
# Name of a set -> its descriptions, and the names of its files.
SETS = {
    "kuairand": ((KUAIRAND,), ("kuairand.csv", "kuairand_sample.csv")),
    "amazon-3": ((AMAZON_3,), ("amazon.csv", "amazon_sample.csv")),
    "douban": ((DOUBAN, DOUBAN_NUMBERED), ("douban.csv", "douban_sample.csv")),
    "mind": ((MIND,), ("mind_all.csv", "mind_sample.csv")),
}
FILE_NAMES = tuple(name for _, names in SETS.values() for name in names)


def load_scenarios(
    path: str | Path,
    split_seed: int = 2022,
    min_count: int = 1,
    on_bad_rows: str = "error",
    max_bad_fraction: float = 0.05,
    max_line_mib: int = MAX_LINE_MIB,
    allow_leakage: tuple[str, ...] = (),
    require_all_domains: bool = False,
    cache_dir: str | Path | None = None,
) -> tuple[Splits, Schema]:
    """The three splits (8:1:1 by split_seed) and the schema of one of the processed files.

    path: kuairand.csv, douban.csv, mind_all.csv, amazon.csv or their ..._sample.csv, or the folder
        of one of them; or the same as Parquet, a file or a folder of parts.  The header says which
        set it is, not the name.
    The other arguments are those of `load_movielens` and `load_ali_ccp`.
    Raises:  DataError, of the kind that `hamur.errors` names.
    """
    root = Path(path).expanduser()
    fetch = "pass one of the processed CSV files of Scenario-Wise-Rec, or its folder"
    table = root.is_file() or is_parquet(root)
    (file,) = [root] if table else find_files(root, zip(FILE_NAMES), fetch)
    name, columns = recognise(file)
    rules = Encoding(min_count=min_count, allow_leakage=tuple(allow_leakage))
    policy = Policy(on_bad_rows, max_bad_fraction, max_line_mib)
    source = TableSource(
        name,
        file.parent,
        (file,),
        columns,
        Split("random", split_seed),
        rules,
        policy,
        options=dict(split_seed=split_seed, missing=list(MISSING_WORDS))
        | dataclasses.asdict(rules)
        | dataclasses.asdict(policy),
        notes={"encoding": "train"},
        first_row_id=(-1 if is_parquet(file) else -2,),
    )
    return check_classes(*load_tables(source, cache_dir), require_all_domains)


def recognise(file: Path) -> tuple[str, Columns]:
    """The set whose columns are most like those in the header."""
    header = set(column_names(file))
    described = [(name, columns) for name, (sets, _) in SETS.items() for columns in sets]
    return max(described, key=lambda pair: len(set(pair[1].names) & header))
