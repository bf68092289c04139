"""A pair as the JSON files that the public BIAO code trains from, so that both can be compared."""

import json
from pathlib import Path

import numpy as np

from hamur.data.cross_domain.dataset import Pair
from hamur.data.cross_domain.histories import ITEM, USER
from hamur.data.splits import SPLITS
from hamur.files import replacing

FOLDER = "biao_json"


def export_biao_json(pair: Pair, folder: Path) -> list[Path]:
    """Writes the files below; returns their paths.  Ids are the pair's, from 1.

    users, source_item, target_item, source_cate2id, target_cate2id.json: raw value -> id
    source_item_cate, target_item_cate.json: item id -> category id
    train_set, valid_set, test_set.json: [[user, item, rating, target_hist, source_hist], ...]
    source_user_behavior, target_user_behavior.json: user -> items of those histories
    source_pos_neg.json: user -> [[rating, item], ...], the pool of source candidates
    target_hist: the user's positive training items; source_hist, the pool: what the user did before
    the own validation row, the positive items of it and all of it; oldest first, not cut.  A key is
    text, as JSON has it; a user without any has an empty list.
    Raises:  ValueError: the pair has no ratings or no times, another split than leave_two_out, or
        items without id, which those files cannot say.
    """
    check_exportable(pair)
    users = range(1, pair.num_users + 1)
    early = np.asarray(pair.source.time) < pair.valid_time[pair.source.sparse[:, USER]]
    usable = pair.source.take(np.flatnonzero(early))
    pool: dict[int, list] = {user: [] for user in users}
    behaviours = {"source": {user: [] for user in users}, "target": {user: [] for user in users}}
    for row, rating in zip(usable.sparse.tolist(), pair.ratings["source"][early].tolist()):
        pool[row[USER]].append([rating, row[ITEM]])
    for name, table in (("source", usable), ("target", pair.target.train)):
        for row, label in zip(table.sparse.tolist(), table.labels[:, 0].tolist()):
            if label:
                behaviours[name][row[USER]].append(row[ITEM])
    content = {"users": numbered(pair.names["user"]), "source_pos_neg": pool}
    for name in ("source", "target"):
        content[f"{name}_item"] = numbered(pair.names[f"{name}_item"])
        content[f"{name}_cate2id"] = numbered(pair.names[f"{name}_category"])
        categories = getattr(pair, f"{name}_categories").tolist()
        content[f"{name}_item_cate"] = dict(enumerate(categories[1:], 1))
        content[f"{name}_user_behavior"] = behaviours[name]
    for part, table in zip(SPLITS, pair.target):
        content[f"{part}_set"] = [
            [user, item, rating, behaviours["target"][user], behaviours["source"][user]]
            for (user, item, _), rating in zip(table.sparse.tolist(), pair.ratings[part].tolist())
        ]
    paths = [folder / f"{name}.json" for name in sorted(content)]
    for path in paths:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content[path.stem]), encoding="utf-8")
    return paths


def numbered(values: np.ndarray) -> dict[str, int]:
    """Raw value -> id, without id 0."""
    return {str(value): number for number, value in enumerate(values) if number}


def check_exportable(pair: Pair) -> None:
    """Raises ValueError, see `export_biao_json`."""
    split = pair.target_schema.split
    tables = (pair.source, *pair.target)
    for wrong, what in (
        (not pair.ratings, "the ratings of its rows, which an older cache lacks: prepare it again"),
        (not pair.timed, "times"),
        (split["rule"] != "leave_two_out", "the split leave_two_out"),
        (
            any((np.asarray(table.sparse[:, ITEM]) == 0).any() for table in tables),
            "an id for every item: prepare it with --vocabulary all",
        ),
    ):
        if wrong:
            raise ValueError(f"--export {FOLDER}: the pair needs {what}.")
