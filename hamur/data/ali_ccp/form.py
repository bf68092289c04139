"""The form of the raw Ali-CCP files: columns, fields, marks."""

from typing import NamedTuple

COMMON_FIELDS = (
    *("101", "121", "122", "124", "125", "126", "127", "128", "129"),
    *("109_14", "110_14", "127_14", "150_14"),
)
SKELETON_FIELDS = ("205", "206", "207", "210", "216", "508", "509", "702", "853", "301")
KEY, LIST = "common_feature_index", "feature_list"
LABELS = ("click", "conversion")
MARKS = b"\x01\x02\x03"
ID_LIMIT, INT_LIMIT = 2**31, 10**18


class Form(NamedTuple):
    """head: the columns before the list, in order; fields: the names that a feature may have."""

    head: tuple[str, ...]
    fields: tuple[str, ...]


SKELETON = Form(("sample_id", "click", "conversion", KEY, "feature_num"), SKELETON_FIELDS)
COMMON = Form((KEY, "feature_num"), COMMON_FIELDS)
