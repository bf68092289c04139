"""What the columns of the processed files are, one description a data set.

Columns that are known only after the click (play_time_ms and the like) are no features.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Description:
    """One CSV file with a header.

    files: its names; columns: all of them, in any order; sparse, dense: features, in model order;
    domains: value of the domain column -> domain; names: of the domains;
    others: rows of other domains are left out by definition, otherwise they are bad rows.
    """

    name: str
    files: tuple[str, ...]
    columns: tuple[str, ...]
    sparse: tuple[str, ...]
    label: str
    domain: str
    domains: dict[str, int]
    names: tuple[str, ...]
    dense: tuple[str, ...] = ()
    others: bool = False

    @property
    def group(self) -> str:
        return self.sparse[0]


_COUNTS = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
_ACTIVITY = ("user_active_degree", "is_lowactive_period", "is_live_streamer", "is_video_author")
_ONE_HOT = tuple(f"onehot_feat{n}" for n in range(18))
_VIDEO = ("video_type", "visible_status", "server_width", "server_height")
_AFTER_CLICK = ("play_time_ms", "duration_ms", "profile_stay_time", "comment_stay_time")

KUAIRAND = Description(
    name="kuairand",
    files=("kuairand.csv", "kuairand_sample.csv"),
    columns=(
        *("user_id", "video_id", "is_click", *_AFTER_CLICK, "tab", *_ACTIVITY),
        *(name for count in _COUNTS for name in (count, f"{count}_range")),
        *_ONE_HOT,
        *_VIDEO,
    ),
    sparse=(
        *("user_id", "video_id", *_ACTIVITY),
        *(f"{count}_range" for count in _COUNTS),
        *_ONE_HOT,
        *_VIDEO,
    ),
    dense=_COUNTS,
    label="is_click",
    domain="tab",
    domains={"0": 0, "1": 1, "2": 2, "4": 3, "6": 4},
    names=tuple(f"tab={tab}" for tab in (0, 1, 2, 4, 6)),
    others=True,
)
AMAZON_3 = Description(
    name="amazon-3",
    files=("amazon.csv", "amazon_sample.csv"),
    columns=("user", "item", "label", "domain_indicator"),
    sparse=("user", "item"),
    label="label",
    domain="domain_indicator",
    domains={"0": 0, "1": 1, "2": 2},
    names=("Beauty", "Clothing_Shoes_and_Jewelry", "Health_and_Personal_Care"),
)
_DOUBAN = dict(
    name="douban",
    files=("douban.csv", "douban_sample.csv"),
    sparse=("user_id", "item_id", "living_place", "time_bin"),
    label="rating",
    names=("book", "music", "movie"),
)
_DOUBAN_COLUMNS = ("user_id", "item_id", "rating", "living_place", "join_time", "time_bin")
DOUBAN = Description(
    **_DOUBAN,
    columns=(*_DOUBAN_COLUMNS, "domain"),
    domain="domain",
    domains={"book": 0, "music": 1, "movie": 2},
)
# The public converter numbers Book 0, Movie 1, Music 2.
DOUBAN_NUMBERED = Description(
    **_DOUBAN,
    columns=(*_DOUBAN_COLUMNS, "domain_id"),
    domain="domain_id",
    domains={"0": 0, "2": 1, "1": 2},
)
MIND = Description(
    name="mind",
    files=("mind_all.csv", "mind_sample.csv"),
    columns=("User_ID", "News_ID", "label", "Category", "SubCategory"),
    sparse=("User_ID", "News_ID", "SubCategory"),
    label="label",
    domain="Category",
    domains={"news": 0, "lifestyle": 1, "sports": 2, "finance": 3},
    names=("news", "lifestyle", "sports", "finance"),
)
DESCRIPTIONS = (KUAIRAND, AMAZON_3, DOUBAN, DOUBAN_NUMBERED, MIND)
