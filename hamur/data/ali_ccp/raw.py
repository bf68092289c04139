"""Ali-CCP from its four raw files to the cache; see `streaming.joined` for the stages.

The skeleton files hold the impressions, each of which names a row of common features.  Ids are
counted over the training impressions, and coded in the order of their first appearance.
"""

import logging
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from hamur.data import splits
from hamur.data.ali_ccp.columns import (
    DENSE_COLUMNS,
    DOMAIN_COLUMN,
    GROUP_COLUMN,
    KEY,
    MAX_LEN,
    MULTI_COLUMNS,
    NAME,
    NUM_DOMAINS,
    PAGE,
    SPARSE_COLUMNS,
    Options,
)
from hamur.data.ali_ccp.lines import COMMON, SKELETON, Features, LineFormat, parse
from hamur.data.streaming.chunks import ABSENT, DOMAIN, SPLIT, Chunk, batches, column
from hamur.data.streaming.jobs import Workspace, advance
from hamur.data.streaming.joined import JoinedSource, Pair, RawFile, divide_rows, read_pairs
from hamur.data.streaming.plan import plan_cache
from hamur.data.streaming.prepare import CachePlan, DataSet
from hamur.data.streaming.read import RawFormat
from hamur.data.streaming.sources import Source, sources_in, take
from hamur.data.streaming.vocabulary import IdCounts
from hamur.data.text.bad_rows import BadRows, Policy
from hamur.data.text.checks import allowed, first_of_each
from hamur.data.text.reader import Rows
from hamur.errors import DataFormatError, UnknownDomainError

FILES = tuple(f"{kind}_{part}.csv" for kind in ("common_features", "sample_skeleton")
              for part in ("train", "test"))  # fmt: skip
DOMAIN_MIN_ROWS = 10
DIFFERS = "feature_num_differs"
IMPLIED = ("purchase", "click", "dropped_click0_conversion1")  # as all public preparations do
SAMPLES_AT_ONCE = 1 << 23
_log = logging.getLogger(__name__)


def find(folder: Path) -> list[Source]:
    """The four files, plain, compressed or in an archive."""
    return take(sources_in(folder, FILES), FILES, folder, f"fetch them from {PAGE}")


def describe(options: Options) -> JoinedSource:
    """The raw files and the table that these options make of them."""
    multi = MULTI_COLUMNS if options.multi == "mean" else ()
    max_len = options.max_len or MAX_LEN
    formats = {
        form: RawFormat(
            partial(parse_columns, form=form, multi=multi),
            KEY,
            form.fields,
            tuple(name for name in DENSE_COLUMNS if name[1:] in form.fields),
            key_text="{:016x}",
            implied=IMPLIED if form is SKELETON else None,
        )
        for form in (SKELETON, COMMON)
    }
    return JoinedSource(
        name=NAME,
        fact=formats[SKELETON],
        dimension=formats[COMMON],
        sparse=SPARSE_COLUMNS,
        dense=DENSE_COLUMNS,
        group=GROUP_COLUMN,
        pointer="common_row",
        alone="no common row",
        repeated=f"repeated {KEY}",
        options=options,
        split_entry={
            "rule": options.split,
            "fit_on": "train",
            "seed": options.split_seed,
            "min_count": options.min_count,
            "multi": options.multi,
            "max_len": max_len if options.multi == "mean" else None,
        },
        number_name=lambda name: name.removeprefix("D"),
        limit_rows=options.limit_rows,
        multi=multi,
        max_len=max_len,
        order="first",
        fact_first=True,
    )


def build(space: Workspace, sources: list[Source], options: Options) -> CachePlan:
    """All stages; returns what the cache is made of."""
    source = describe(options)
    common_train, common_test, train, test = sources
    pairs = (
        Pair("train", train, common_train, "common_train", (None, 0)),
        Pair("test", test, common_test, "common_test", (options.split, options.split_seed)),
    )
    files = read_pairs(space, source, pairs)
    for file in (raw for pair in files for raw in (pair.dimension, pair.fact)):
        _check_feature_num(file, options.check_feature_num)
    domains = options.domain_map or _find_domains(files[0].fact)
    divided = divide_rows(space, source, files, partial(divide, domains=domains))
    raw_ids = [[str(i) for i, d in sorted(domains.items()) if d == n] for n in range(NUM_DOMAINS)]
    names = tuple(f"{DOMAIN_COLUMN}={'|'.join(ids)}" for ids in raw_ids)
    return plan_cache(space, source, files, divided, names, sources)


def parse_columns(
    block: bytes, first_line: int, bad_rows: BadRows, at_start: bool, form: LineFormat, multi: tuple
) -> dict[str, np.ndarray | pa.Array]:
    """The columns of a block, see `RawFormat`: of a field that keeps no list the last feature, as
    the public preparation has it, and the number `D<field>` (0: absent), its value.

    Of a field that keeps its list the number is the mean of all values.
    """
    features = parse(block, form, bad_rows, first_line)
    head = features.head
    columns = {"line": features.lines.astype(np.int32), KEY: head[KEY]}
    if form == SKELETON:
        columns["sample_id"] = head["sample_id"]
        columns["click"] = head["click"].astype(np.int8)
        columns["purchase"] = head["conversion"].astype(np.int8)
    columns |= _last(features, form)
    for name in multi:
        if name in form.fields:
            del columns[name]
            columns |= _all(features, form, name)
    columns[DIFFERS] = (head["feature_num"] != features.counts).astype(np.int8)
    return columns


def _last(features: Features, form: LineFormat) -> dict[str, np.ndarray]:
    """name -> (n,): the last feature of each field in a line, id and, where it counts, value."""
    rows, n = features.rows(), len(features)
    ids = np.full(len(form.fields) * n, ABSENT, np.int32)
    place = features.field.astype(np.int64) * n + rows
    ids[place] = features.ids  # of several, the last is assigned
    values = np.zeros(len(ids), np.float32)
    values[place] = features.values
    columns = {}
    for number, name in enumerate(form.fields):
        columns[name] = ids[number * n : (number + 1) * n]
        if f"D{name}" in DENSE_COLUMNS:
            columns[f"D{name}"] = values[number * n : (number + 1) * n]
    return columns


def _all(features: Features, form: LineFormat, name: str) -> dict[str, np.ndarray | pa.ListArray]:
    """The lists of a field's ids and values in each line, and the mean of the values."""
    mine = features.field == form.fields.index(name)
    rows, ids, values = features.rows()[mine], features.ids[mine], features.values[mine]
    counts = np.bincount(rows, minlength=len(features))
    offsets = pa.array(np.concatenate(([0], np.cumsum(counts))), pa.int32())
    columns = {
        f"{name}.ids": pa.ListArray.from_arrays(offsets, pa.array(ids)),
        f"{name}.values": pa.ListArray.from_arrays(offsets, pa.array(values.astype(np.float32))),
    }
    if f"D{name}" in DENSE_COLUMNS:
        mean = np.bincount(rows, values, len(features)) / np.maximum(counts, 1)
        columns[f"D{name}"] = mean.astype(np.float32)
    return columns


def _check_feature_num(file: RawFile, strict: bool) -> None:
    """A feature_num that is not the length of the list: counted, an error only if asked for."""
    differing = sum(int(column(batch, DIFFERS).sum()) for batch, _ in batches(file.chunks))
    text = f"feature_num differs from the number of features in {differing} rows"
    if differing and strict:
        raise DataFormatError(
            text,
            file=file.bad_rows.path,
            column="feature_num",
            expected="the number of features",
            remedy="fetch the file again, or leave out `check_feature_num`",
        )
    if differing:
        _log.warning("%s: %s", file.bad_rows.path, text)


def _find_domains(file: RawFile) -> dict[int, int]:
    """Raw id of field 301 -> domain, by first appearance in the training file.

    Raises:  UnknownDomainError: not three ids that occur often enough.
    """
    counts, seen = IdCounts(), 0
    for batch, _ in batches(file.chunks):
        ids = column(batch, DOMAIN_COLUMN)
        counts.add(ids[ids != ABSENT], np.flatnonzero(ids != ABSENT) + seen)
        seen += len(ids)
    ids_and_rows = list(zip(*(values.tolist() for values in counts.known())))
    domains = [raw for raw, rows in ids_and_rows if rows >= DOMAIN_MIN_ROWS]
    if len(domains) != NUM_DOMAINS:
        raise UnknownDomainError(
            f"{len(domains)} ids of field 301 occur in at least {DOMAIN_MIN_ROWS} training rows",
            file=file.bad_rows.path,
            column=DOMAIN_COLUMN,
            value=", ".join(f"{raw} ({rows} rows)" for raw, rows in ids_and_rows[:20]),
            expected=f"{NUM_DOMAINS} domains",
            remedy="check the files, or name the domains: `domain_map={RAW: 0, RAW: 1, RAW: 2}`",
        )
    return {raw: number for number, raw in enumerate(domains)}


def divide(
    folder: Path,
    name: str,
    chunks: tuple[Chunk, ...],
    num_partners: int,
    policy: Policy,
    rule: str | None,
    seed: int,
    domains: dict[int, int],
) -> dict:
    """A job, see `divide_rows`: the rows of known domain whose sample id is new.

    rule: which half of the rows is for validation; None: all are for training.
    """
    bad_rows = BadRows(Path(name), policy)
    keep = ~_repeated_samples(chunks, bad_rows)
    domain, seen = np.full(len(keep), -1, np.int8), 0
    unknown_raw, unknown_lines = [], []
    for batch, lines_before in batches(chunks):
        raw, rows = column(batch, DOMAIN_COLUMN), slice(seen, seen + len(batch))
        for value, number in domains.items():
            domain[rows][raw == value] = number
        unknown = keep[rows] & (domain[rows] < 0)
        unknown_raw.append(raw[unknown])
        unknown_lines.append(column(batch, "line")[unknown].astype(np.int64) + lines_before)
        seen += len(batch)
        advance(len(batch))
    unknown = Rows({DOMAIN_COLUMN: np.concatenate(unknown_raw)}, np.concatenate(unknown_lines))
    remedy = "leave such rows out with `on_bad_rows='skip'`, or name its domain in `domain_map`"
    about = UnknownDomainError, "no domain", remedy, "no domain"
    allowed(unknown, DOMAIN_COLUMN, domains, bad_rows, *about)
    keep &= domain >= 0
    split = np.where(keep, splits.SPLITS.index("train"), -1).astype(np.int8)
    rows = {"train": int(keep.sum())}
    if rule is not None:
        valid = np.zeros(rows["train"], bool)
        if rule == "public":
            valid[splits.halves(len(valid), seed)[0]] = True
        else:
            ids = [column(batch, "sample_id") for batch, _ in batches(chunks)]
            valid = np.concatenate([splits.hash_half(each, seed) for each in ids])[keep]
        rows = {"valid": int(valid.sum()), "test": int((~valid).sum())}
        split[keep] = np.where(valid, *map(splits.SPLITS.index, rows))
    np.save(folder / SPLIT, split)
    np.save(folder / DOMAIN, domain)
    return bad_rows.report() | {"rows": rows, "reordered": False}


def _repeated_samples(chunks: tuple[Chunk, ...], bad_rows: BadRows) -> np.ndarray:
    """(N,) bool, the rows whose sample id occurred before; in passes of bounded memory."""
    last, ascending, total = -1, True, 0
    for batch, _ in batches(chunks):
        ids = column(batch, "sample_id")
        if len(ids) and ascending:
            ascending = ids[0] > last and bool((ids[1:] > ids[:-1]).all())
            last = ids[-1]
        total += len(ids)
    passes = 0 if ascending else -(-total // SAMPLES_AT_ONCE)  # in the official files ids ascend
    repeated = np.full(total, passes > 0)
    for turn in range(passes):
        ids, lines, rows, seen = [], [], [], 0
        for batch, lines_before in batches(chunks):
            mine = np.flatnonzero(column(batch, "sample_id") % passes == turn)
            ids.append(column(batch, "sample_id")[mine])
            lines.append(column(batch, "line")[mine].astype(np.int64) + lines_before)
            rows.append(mine + seen)
            seen += len(batch)
        ids, lines, rows = map(np.concatenate, (ids, lines, rows))
        rows, value = Rows({"row": rows}, lines), lambda row, ids=ids: str(ids[row])
        first = first_of_each(rows, ids, "sample_id", bad_rows, value)
        repeated[first.columns["row"]] = False
    return repeated


DATASET = DataSet(NAME, Options, find, build, user="101", item="205", threads=True)
