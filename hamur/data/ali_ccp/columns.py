"""Ali-CCP: its columns, its domains, where it comes from, and the options of raw files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hamur.config import comma_separated, encoding_flag
from hamur.data.text.bad_rows import Policy

NAME = "ali-ccp"
SAMPLE = Path(__file__).resolve().parents[3] / "data" / "ali-ccp-sample"
PAGE = "https://tianchi.aliyun.com/dataset/408"
HEADER = (
    "click,purchase,"
    "101,121,122,124,125,126,127,128,129,205,206,207,210,216,508,509,702,853,301,"
    "109_14,110_14,127_14,150_14,"
    "D109_14,D110_14,D127_14,D150_14,D508,D509,D702,D853"
)
CSV_COLUMNS = tuple(HEADER.split(","))
LABELS, SPARSE_COLUMNS, DENSE_COLUMNS = CSV_COLUMNS[:2], CSV_COLUMNS[2:25], CSV_COLUMNS[25:]
DOMAIN_COLUMN, GROUP_COLUMN = "301", "101"
DOMAIN_MAP = {1: 0, 2: 1, 3: 2}
NUM_DOMAINS = 3
MULTI_COLUMNS = ("210", "853", "109_14", "110_14", "127_14", "150_14")

# The raw files.
COMMON_FIELDS = (
    *("101", "121", "122", "124", "125", "126", "127", "128", "129"),
    *("109_14", "110_14", "127_14", "150_14"),
)
SKELETON_FIELDS = ("205", "206", "207", "210", "216", "508", "509", "702", "853", "301")
KEY = "common_feature_index"
MIN_COUNT = 10  # of the public preparations
SPLITS = ("public", "hash")
MULTI = ("last", "mean")
MAX_LEN = 50


def parse_domain_map(text: str) -> dict[int, int]:
    """{raw id: domain} of RAW=0,RAW=1,RAW=2."""
    try:
        return {int(raw): int(d) for raw, d in (part.split("=") for part in text.split(","))}
    except ValueError:
        raise ValueError(f"is {text!r}; write it as RAW=0,RAW=1,RAW=2.") from None


@dataclass(frozen=True)
class Options:
    """What a raw preparation depends on besides the files; see `load_ali_ccp`.

    limit_rows: lines to read of each skeleton file; range_bytes: of a job; max_len None is MAX_LEN.
    """

    labels: tuple[str, ...] = encoding_flag(
        ("click",), "label columns, comma separated: click or click,purchase", parse=comma_separated
    )
    split: str = encoding_flag("public", "rule that divides the rows", choices=SPLITS)
    split_seed: int = encoding_flag(2022, "seed of the split", at_least=0)
    domain_map: Mapping[int, int] | None = encoding_flag(
        None,
        "domains of the raw ids of field 301",
        default_text="by first appearance",
        parse=parse_domain_map,
    )
    min_count: int = encoding_flag(
        MIN_COUNT, "training rows that an id needs to be known", at_least=1
    )
    policy: Policy = field(default_factory=Policy)
    check_feature_num: bool = encoding_flag(
        False, "a feature_num that differs from the list's length is an error"
    )
    limit_rows: int | None = encoding_flag(
        None, "read only the first N rows of each skeleton file", at_least=1, default_text="all"
    )
    range_bytes: int = 64 << 20
    multi: str = encoding_flag(
        "last",
        "multi-valued fields: keep the last id, or the list, to average the embeddings",
        choices=MULTI,
    )
    max_len: int | None = encoding_flag(
        None,
        "with --multi mean: entries of a list to keep, those of largest value",
        at_least=1,
        default_text=str(MAX_LEN),
    )

    def __post_init__(self):
        if self.multi not in MULTI:
            raise ValueError(f"`multi` is {self.multi!r}; use one of {MULTI}")
        if self.max_len is not None and (self.multi == "last" or self.max_len < 1):
            raise ValueError(
                f"`max_len` is {self.max_len}; it is the length >= 1 of the lists of `multi='mean'`"
            )
        if self.split not in SPLITS:
            raise ValueError(f"`split` is {self.split!r}; raw Ali-CCP has {', '.join(SPLITS)}")
        if self.labels not in (LABELS[:1], LABELS):
            raise ValueError(f"`labels` is {self.labels!r}; use {LABELS[:1]} or both")
        domains = sorted((self.domain_map or {0: 0, 1: 1, 2: 2}).values())
        if sorted(set(domains)) != list(range(NUM_DOMAINS)):
            raise ValueError(f"`domain_map` is {self.domain_map}; its domains must be 0, 1 and 2")
