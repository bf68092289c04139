"""Pairs of domains as one would write them with dictionaries and lists, row by row."""

import ast
import gzip
import json

import numpy as np

from hamur.data.cross_domain.dataset import USER, UserHistories


def _lines(path):
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        return [line for line in file if line.strip()]


def read_reviews(path):
    """[(user, item, rating, time, line from 0)]"""
    keys = ("reviewerID", "asin", "overall", "unixReviewTime")
    records = map(json.loads, _lines(path))
    return [tuple(record[key] for key in keys) + (n,) for n, record in enumerate(records)]


def read_categories(path):
    """asin -> category"""
    categories = {}
    for record in map(ast.literal_eval, _lines(path)):
        first = (record.get("categories") or [[]])[0]
        categories[record["asin"]] = first[1] if len(first) > 1 else "others"
    return categories


def numbered(values):
    return {value: n for n, value in enumerate(values, 1)}


class Reference:
    """Leave-two-out pair.

    everything: vocabularies of all rows and not only of those that training may see.
    """

    def __init__(self, source, target, *names, everything=False):
        """names: item -> category, of the source and of the target."""
        by_user = {}
        for side, rows in enumerate((source, target)):
            for row in rows:
                by_user.setdefault(row[0], ([], []))[side].append(row)
        kept = {u: sides for u, sides in by_user.items() if sides[0] and len(sides[1]) >= 3}
        for sides in kept.values():
            for rows in sides:
                rows.sort(key=lambda row: (row[3], row[4]))
        self.user = numbered(sorted(kept))
        self.source, self.target = (
            [row for u in self.user for row in kept[u][side]] for side in (0, 1)
        )
        self.of_user, self.positives = {}, {}
        for n, row in enumerate(self.source):
            self.of_user.setdefault(row[0], []).append((n, row[3]))
        of_users = [kept[u][1] for u in self.user]
        self.parts = {
            "train": [row for rows in of_users for row in rows[:-2]],
            "valid": [rows[-2] for rows in of_users],
            "test": [rows[-1] for rows in of_users],
        }
        self.valid_time = {row[0]: row[3] for row in self.parts["valid"]}
        self.pools = [row for row in self.source if row[3] < self.valid_time[row[0]]]
        self.names = names
        self.item, self.category = [], []
        seen = (self.source, self.target) if everything else (self.pools, self.parts["train"])
        for rows, category in zip(seen, names):
            items = {row[1] for row in rows}
            used = {category[item] for item in items if item in category}
            self.item.append(numbered(sorted(items)))
            self.category.append(numbered(sorted(used)))

    def category_of(self, item, side):
        return self.category[side].get(self.names[side].get(item), 0)

    def encode(self, rows, side):
        """[[user, item, category, label, time, line]]"""
        return [
            [self.user[u], self.item[side].get(i, 0), self.category_of(i, side), int(rating > 3),
             time, line]
            for u, i, rating, time, line in rows
        ]  # fmt: skip

    def pool(self, row, rule):
        """Positions in the source of the rows that may stand beside a target row."""
        until = row[3] if rule == "before_row" else self.valid_time[row[0]]
        return [n for n, time in self.of_user[row[0]] if time < until]

    def history(self, user, time, rows, side, length):
        """Items of the last positive rows before `time`, oldest first."""
        if id(rows) not in self.positives:
            self.positives[id(rows)] = {}
            for r in rows:
                if r[2] > 3:
                    self.positives[id(rows)].setdefault(r[0], []).append(r)
        found = [r for r in self.positives[id(rows)].get(user, []) if r[3] < time]
        return [self.item[side].get(r[1], 0) for r in found[-length:]]


def listed(table):
    columns = [table.sparse, table.labels, table.time[:, None], table.row_id[:, None]]
    return np.concatenate(columns, axis=1).tolist()


def assert_equal(pair, expected):
    assert listed(pair.source) == expected.encode(expected.source, 0)
    for part, rows in expected.parts.items():
        assert listed(getattr(pair.target, part)) == expected.encode(rows, 1)
    assert pair.names["user"].tolist() == ["", *map(str, expected.user)]
    assert pair.valid_time[1:].tolist() == [expected.valid_time[u] for u in expected.user]
    for side, (prefix, schema) in enumerate(
        (("source", pair.source_schema), ("target", pair.target_schema))
    ):
        assert pair.names[f"{prefix}_item"].tolist() == ["", *map(str, expected.item[side])]
        assert pair.names[f"{prefix}_category"].tolist() == ["", *expected.category[side]]
        sizes = (expected.user, expected.item[side], expected.category[side])
        assert schema.vocab_sizes == tuple(len(values) + 1 for values in sizes)
        of_items = getattr(pair, f"{prefix}_categories").tolist()
        names, category = expected.names[side], expected.category[side]
        assert of_items == [0] + [category.get(names.get(i), 0) for i in expected.item[side]]
    behaviours = UserHistories.of(pair.source)
    assert (behaviours.row == np.arange(len(pair.source))).all()
    for rule in ("before_row", "before_valid"):
        for part, rows in expected.parts.items():
            found = zip(*pair.pool(behaviours, getattr(pair.target, part), rule))
            pools = [expected.pool(row, rule) for row in rows]
            assert [list(range(a, b)) for a, b in found] == pools
    assert_histories(pair, expected)


def assert_histories(pair, expected, length=3):
    train = expected.parts["train"]
    for side, table, rows, of in (
        (0, pair.source, expected.source, expected.source),
        (1, pair.target.train, train, train),
    ):
        positives = UserHistories.positives(table)
        begin, end = positives.before(table.sparse[:, USER], table.time)
        assert len(begin) == len(end) == len(rows)
        for n, row in enumerate(rows):
            history = expected.history(row[0], row[3], of, side, length)
            assert positives.item[begin[n] : end[n]][-length:].tolist() == history
