"""What a preparation of raw Ali-CCP depends on besides its files."""

from dataclasses import dataclass, field

from hamur.data.ali_ccp.columns import LABELS, NUM_DOMAINS
from hamur.data.text.bad_rows import Policy

MIN_COUNT = 10  # of the public preparations
SPLITS = ("public", "hash")
MULTI = ("last", "mean")
MAX_LEN = 50


@dataclass(frozen=True)
class Options:
    """What a raw preparation depends on besides the files; see `load_ali_ccp`.

    limit_rows: lines to read of each skeleton file; range_bytes: of a job; max_len None is MAX_LEN.
    """

    labels: tuple[str, ...] = ("click",)
    split: str = "public"
    split_seed: int = 2022
    domain_map: dict[int, int] | None = None
    min_count: int = MIN_COUNT
    policy: Policy = field(default_factory=Policy)
    check_feature_num: bool = False
    limit_rows: int | None = None
    range_bytes: int = 64 << 20
    multi: str = "last"
    max_len: int | None = None

    def __post_init__(self):
        if self.multi not in MULTI:
            raise ValueError(f"multi is {self.multi!r}; use one of {MULTI}")
        if self.max_len is not None and (self.multi == "last" or self.max_len < 1):
            raise ValueError(
                f"max_len is {self.max_len}; it is the length >= 1 of the lists of multi='mean'"
            )
        if self.split not in SPLITS:
            raise ValueError(f"split is {self.split!r}; raw Ali-CCP has {', '.join(SPLITS)}")
        if self.labels not in (LABELS[:1], LABELS):
            raise ValueError(f"labels is {self.labels!r}; use {LABELS[:1]} or both")
        domains = sorted((self.domain_map or {0: 0, 1: 1, 2: 2}).values())
        if sorted(set(domains)) != list(range(NUM_DOMAINS)):
            raise ValueError(f"domain_map is {self.domain_map}; its domains must be 0, 1 and 2")
