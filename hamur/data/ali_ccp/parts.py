"""The first jobs of a preparation of Ali-CCP: ranges of the raw files as columns.

A part is one Arrow file, a record batch for each block of lines: of a common file the key, of a
skeleton file row, sample_id, click, conversion and `common`, the place of its partner in the common
file; of both, for every field f, the id `f` of its last feature (-1: absent) and, where the model
takes a value, `D<f>` (0: absent), as the public preparation has it.  Of fields that are to be
averaged: the lists `f.ids` and `f.values` of all their features, `D<f>` the mean of the values.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from hamur.data.ali_ccp.form import COMMON, KEY, SKELETON, Form
from hamur.data.ali_ccp.lists import Features, parse
from hamur.data.errors import JoinError
from hamur.data.streaming.parts import PART, column
from hamur.data.streaming.sources import Source, blocks_of_lines
from hamur.data.text.bad_rows import BadRows, Policy

VALUED = ("508", "509", "702", "853", "109_14", "110_14", "127_14", "150_14")
ABSENT = -1
_JOIN_REMEDY = (
    "fetch the matching common_features file, or leave such rows out with --on_bad_rows skip"
)


def read_common(
    folder: Path,
    source: Source,
    start: int,
    stop: int | None,
    policy: Policy,
    multi: tuple[str, ...] = (),
) -> dict:
    """A job: the common rows that begin in [start, stop).  multi: fields to keep as lists."""
    return _read(folder, source, start, stop, policy, COMMON, lambda *_: {}, multi)


def read_skeleton(
    folder: Path,
    source: Source,
    start: int,
    stop: int | None,
    policy: Policy,
    multi: tuple[str, ...],
    keys: Path,
) -> dict:
    """A job: the skeleton rows that begin in [start, stop), each with its common row.

    multi: fields to keep as lists; keys: the folder of `sort_keys`.
    """
    known = np.load(keys / "keys.npy", mmap_mode="r")
    places = np.load(keys / "places.npy", mmap_mode="r")

    def join(features: Features, bad_rows: BadRows, lines_before: int) -> dict:
        key = features.head[KEY]
        at = np.minimum(np.searchsorted(known, key), len(known) - 1)
        alone = known[at] != key
        if alone.any():
            _reject_alone(key, alone, features.lines + lines_before, bad_rows)
        bought, clicked = features.head["conversion"], features.head["click"]
        impossible = (bought == 1) & (clicked == 0) & ~alone
        # By definition no defect of the row's form: dropped in both modes, as by everyone.
        bad_rows.excluded["dropped_click0_conversion1"] += int(impossible.sum())
        return {
            "sample_id": features.head["sample_id"],
            "click": clicked.astype(np.int8),
            "conversion": bought.astype(np.int8),
            "common": places[at],
            "keep": ~(alone | impossible),
        }

    return _read(folder, source, start, stop, policy, SKELETON, join, multi)


def _reject_alone(key, alone, lines, bad_rows: BadRows) -> None:
    keys = [f"{k:016x}" for k in dict.fromkeys(key[alone].tolist())]

    def error(row: int) -> JoinError:
        return JoinError(
            f"{alone.sum()} rows of {len(keys)} keys in this block have no common row",
            file=bad_rows.path,
            line=int(lines[row]),
            column=KEY,
            value=keys[:5],
            expected="only keys of the common_features file",
            remedy=_JOIN_REMEDY,
        )

    bad_rows.add_where(alone, lines, "no common row", error)


def _read(folder, source, start, stop, policy, form: Form, join, multi: tuple[str, ...]) -> dict:
    bad_rows = BadRows(Path(source.name), policy)
    writer, lines, differing, kept = None, 0, 0, 0
    longest = dict.fromkeys((name for name in multi if name in form.fields), 0)
    order = _Order()
    with pa.OSFile(str(folder / PART), "wb") as file:
        for block in blocks_of_lines(source, start, stop):
            features = parse(block, form, bad_rows, lines)
            head = join(features, bad_rows, lines)
            keep = head.pop("keep", np.ones(len(features), bool))
            differing += int((features.head["feature_num"] != features.counts).sum())
            columns = {"line": (features.lines + lines).astype(np.int32), **head}
            if form is COMMON:
                columns[KEY] = features.head[KEY]
            columns |= last(features, form)
            for name in longest:
                del columns[name]
                columns |= all_of(features, form, name)
                longest[name] = max(longest[name], _longest(columns[f"{name}.ids"]))
            columns = {name: _kept(column, keep) for name, column in columns.items()}
            batch = pa.record_batch(columns)
            if "sample_id" in columns:
                order.add(column(batch, "sample_id"))
            if writer is None:
                writer = pa.ipc.new_file(file, batch.schema)
            writer.write_batch(batch)
            kept += batch.num_rows
            lines += block.count(b"\n") + (not block.endswith(b"\n"))
            if bad_rows and bad_rows.policy.on_bad_rows == "error":
                break  # a later line cannot be the first bad one
        if writer is not None:
            writer.close()
    bad_rows.rows_read = lines
    return bad_rows.report() | {
        "lines": lines,
        "rows": kept,
        "feature_num_differs": differing,
        "sample_ids": order.report(),
        "longest": longest,
    }


class _Order:
    """Whether the sample ids ascend, as they do in the official files: then none stands twice."""

    def __init__(self):
        self.first = self.last = None
        self.ascending = True

    def add(self, ids: np.ndarray) -> None:
        if not len(ids):
            return
        if self.first is None:
            self.first = int(ids[0])
        elif ids[0] <= self.last:
            self.ascending = False
        self.ascending = self.ascending and bool((ids[1:] > ids[:-1]).all())
        self.last = int(ids[-1])

    def report(self) -> list:
        return [self.first, self.last, self.ascending]


def last(features: Features, form: Form) -> dict[str, np.ndarray]:
    """name -> (n,): each field's last feature in a line, id and, where it counts, value."""
    rows, n = features.rows(), len(features)
    ids = np.full(len(form.fields) * n, ABSENT, np.int32)
    place = features.field.astype(np.int64) * n + rows
    ids[place] = features.ids  # of several, the last is assigned
    values = np.zeros(len(ids), np.float32)
    values[place] = features.values
    columns = {}
    for number, name in enumerate(form.fields):
        columns[name] = ids[number * n : (number + 1) * n]
        if name in VALUED:
            columns[f"D{name}"] = values[number * n : (number + 1) * n]
    return columns


def all_of(features: Features, form: Form, name: str) -> dict[str, np.ndarray | pa.ListArray]:
    """The lists of a field's ids and values in each line, and the mean of the values (absent: 0)
    where the model takes a value."""
    mine = features.field == form.fields.index(name)
    rows, ids, values = features.rows()[mine], features.ids[mine], features.values[mine]
    counts = np.bincount(rows, minlength=len(features))
    offsets = pa.array(np.concatenate(([0], np.cumsum(counts))), pa.int32())
    columns = {
        f"{name}.ids": pa.ListArray.from_arrays(offsets, pa.array(ids)),
        f"{name}.values": pa.ListArray.from_arrays(offsets, pa.array(values.astype(np.float32))),
    }
    if name in VALUED:
        mean = np.bincount(rows, values, len(features)) / np.maximum(counts, 1)
        columns[f"D{name}"] = mean.astype(np.float32)
    return columns


def _longest(lists: pa.ListArray) -> int:
    return int(np.diff(lists.offsets.to_numpy()).max(initial=0))


def _kept(column, keep: np.ndarray):
    array = column if isinstance(column, pa.Array) else pa.array(column)
    return array if keep.all() else array.filter(pa.array(keep))
