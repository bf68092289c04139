"""What a preparation of raw AliExpress depends on besides its files."""

from dataclasses import dataclass, field

from hamur.data.aliexpress.files import LABELS
from hamur.data.text.bad_rows import Policy


@dataclass(frozen=True)
class Options:
    """What a raw preparation depends on besides the files; see `load_aliexpress`.

    countries: in the order of the domains; None: all that are there; range_bytes: of a job.
    """

    countries: tuple[str, ...] | None = None
    labels: tuple[str, ...] = LABELS
    valid_fraction: float = 0.1
    min_count: int = 1
    policy: Policy = field(default_factory=Policy)
    range_bytes: int = 64 << 20
