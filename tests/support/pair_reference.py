"""Pairs of domains as one would write them with dictionaries and lists, row by row."""

import gzip
import json


def read_reviews(path):
    """[(user, item, rating, time, line from 0)]"""
    open_ = gzip.open if path.suffix == ".gz" else open
    with open_(path, "rt", encoding="utf-8") as file:
        records = [json.loads(line) for line in file if line.strip()]
    keys = ("reviewerID", "asin", "overall", "unixReviewTime")
    return [tuple(record[key] for key in keys) + (n,) for n, record in enumerate(records)]


def read_categories(path):
    """asin -> category"""
    import ast

    open_ = gzip.open if path.suffix == ".gz" else open
    found = {}
    with open_(path, "rt", encoding="utf-8") as file:
        for line in file:
            record = ast.literal_eval(line)
            paths = record.get("categories") or [[]]
            found[record["asin"]] = paths[0][1] if len(paths[0]) > 1 else "others"
    return found


def ids(values):
    return {value: n + 1 for n, value in enumerate(sorted(set(values)))}


class Reference:
    """Leave-two-out pair with vocabularies of the rows that training may see."""

    def __init__(self, source, target, source_category, target_category):
        by_user = {}
        for side, rows in enumerate((source, target)):
            for row in rows:
                by_user.setdefault(row[0], ([], []))[side].append(row)
        kept = {u: sides for u, sides in by_user.items() if sides[0] and len(sides[1]) >= 3}
        for sides in kept.values():
            for rows in sides:
                rows.sort(key=lambda row: (row[3], row[4]))
        self.user = ids(kept)
        self.source = [row for u in sorted(kept) for row in kept[u][0]]
        self.of_user, self.positives = {}, {}
        for n, row in enumerate(self.source):
            self.of_user.setdefault(row[0], []).append((n, row[3]))
        self.parts = {"train": [], "valid": [], "test": []}
        self.valid_time = {}
        for u in sorted(kept):
            rows = kept[u][1]
            self.parts["train"] += rows[:-2]
            self.parts["valid"].append(rows[-2])
            self.parts["test"].append(rows[-1])
            self.valid_time[u] = rows[-2][3]
        usable = [row for row in self.source if row[3] < self.valid_time[row[0]]]
        self.item = [ids(r[1] for r in rows) for rows in (usable, self.parts["train"])]
        self.names = (source_category, target_category)
        self.category = [
            ids(names[r[1]] for r in rows if r[1] in names)
            for names, rows in zip(self.names, (usable, self.parts["train"]))
        ]

    def encode(self, rows, side):
        """[[user, item, category, label, time, line]]"""
        names, category, item = self.names[side], self.category[side], self.item[side]
        return [
            [
                self.user[u],
                item.get(i, 0),
                category.get(names.get(i), 0),
                int(rating > 3),
                time,
                line,
            ]
            for u, i, rating, time, line in rows
        ]

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
