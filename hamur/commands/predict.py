"""The command behind examples/predict.py: raw rows in, probabilities out, in bounded memory."""

import contextlib
import csv
import gzip
import io
import logging
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from hamur.commands.input_rows import AllBadRows, Kept, cells_of
from hamur.commands.script import command, from_flags
from hamur.config import REQUIRED, check_fields, comma_separated, data_flag, model_flag, shared
from hamur.data import descriptions, parquet
from hamur.data.batches import prefetch
from hamur.data.columns import Columns
from hamur.data.descriptions import Description
from hamur.data.domains import Domain
from hamur.data.encode import MISSING
from hamur.data.label_rules import label, parse_label
from hamur.data.own_sources import Form, joined
from hamur.data.own_table import join_of
from hamur.data.table import Table
from hamur.data.text.bad_rows import PACKED, TABLES, BadRows, Policy
from hamur.data.text.checks import without
from hamur.data.text.reader import Rows, read_blocks
from hamur.encoders import Report
from hamur.errors import UnknownDomainError
from hamur.files import replacing

STANDARD = "-"  # input or output
TRUTH = {"True": 1, "true": 1, "False": 0, "false": 0}
MANY = 65536  # rows of a block that tell of more to come, and pay for compiling a faster graph
COMPILED = 2  # blocks that may have one compiled: sorted rows have other domains in each
LISTED = 20  # bad rows on the terminal
_log = logging.getLogger(__name__)


def numbers(text: str) -> tuple[float, ...]:
    """The numbers in .3,.7; a `parse` of flags."""
    return tuple(map(float, text.split(",")))


required_flag = partial(data_flag, None, default_text=REQUIRED)


@dataclass(frozen=True)
class PredictConfig:
    """What can be told of scoring a file."""

    run: str | None = required_flag("folder of a run or of an exported model")
    input: str | None = required_flag("table of raw rows; - is standard input")
    output: str | None = required_flag(
        "file of the scores: CSV, .csv.gz, .parquet; - is standard output"
    )
    format: str = data_flag("csv", "of standard input and output", choices=("csv", "parquet"))
    keep: tuple[str, ...] = data_flag(
        (), "columns of the input, comma separated, that the output repeats", parse=comma_separated
    )
    preference: tuple[float, ...] | None = model_flag(
        None, "pomoe: a weight per task, as .3,.7", parse=numbers, default_text="equal weights"
    )
    unknown_domain: str | None = data_flag(
        None, "domain, by its name, that scores the rows of unknown ones"
    )
    header: tuple[str, ...] = data_flag(
        (), "columns of a text file that has no header, comma separated", parse=comma_separated
    )
    join: tuple[str, ...] = data_flag(
        (), "feature tables of the training, in its order, comma separated", parse=comma_separated
    )
    sep: str | None = data_flag(None, "what separates the columns", default_text="detected")
    encoding: str = data_flag("utf-8", "of a text file")
    allow_missing: bool = data_flag(False, "score without the features that the input lacks")
    on_bad_rows: str = shared(
        "on_bad_rows",
        help="error: stop at the first row that cannot be read; skip: leave its probability empty",
    )
    max_bad_fraction: float = shared("max_bad_fraction")
    max_line_mib: int = shared("max_line_mib")
    quiet: bool = shared("quiet", help="print nothing but warnings and bad rows")
    debug: bool = shared("debug")

    def __post_init__(self):
        check_fields(self)
        names = (self.input, self.output)
        if STANDARD not in names and len({Path(n).expanduser().resolve() for n in names}) == 1:
            raise ValueError(f"--output is the --input, {self.input}; name another file.")
        if self.output != STANDARD and Path(self.output).expanduser().is_dir():
            raise ValueError(f"--output {self.output} is a folder; name a file.")
        if Path(self.output).suffix in {*TABLES, *PACKED} - {parquet.SUFFIX, ".gz"}:
            raise ValueError(f"--output {self.output}: use a name in .csv, .csv.gz or .parquet.")


@dataclass(frozen=True)
class _Block:
    """output: n rows of the input, without scores; table, report: those that can be scored, encoded
    (None: no row can), and their lines; truth (m, T): their labels, NaN of none."""

    output: pd.DataFrame
    table: Table | None = None
    report: Report | None = None
    lines: np.ndarray | None = None
    truth: np.ndarray | None = None


def _blocks(config: PredictConfig, model, bad_rows: AllBadRows) -> Iterator[_Block]:
    """The input, read and encoded; a bad row is in the block of the good one after it.

    Raises:  DataError: columns are missing; a row that cannot be read or scored.
    """
    path, encoders, other = bad_rows.path, model.encoders, config.unknown_domain
    form = Form(config.header or None, config.sep, config.encoding)
    files = [Path(name).expanduser() for name in config.join]
    known = _known(files, encoders.columns)
    source = form.input(path, known, form.header)
    names = source.names
    if unknown := [name for name in config.keep if name not in names]:
        raise ValueError(f"--keep: no column {unknown[0]!r}; there are {', '.join(names)}.")
    joins, _ = joined(source, files, encoders.columns.join, form, known)
    held = [*names, *chain(*(each.names for each in joins))]
    kinds = encoders.format(held, config.allow_missing).kinds
    # The rows tell whether their domain is known: a feature table may hold more of them.
    columns = replace(encoders.columns, kinds=kinds, domain=None)
    partners = [
        join_of(each, rule, columns).read(columns, BadRows(each.place, Policy()))
        for each, rule in zip(joins, columns.join)
    ]
    keys = {rule.on[0]: "code" for _, rule in zip(joins, columns.join)}
    file_format = source.reading(keys | kinds, columns)
    rules = list(encoders.columns.labels.values())
    columns = {parse_label(rule)[0]: "code" for rule in rules}
    rules = rules if set(columns) <= set(names) else []
    with_labels = replace(file_format, kinds=(columns if rules else {}) | file_format.kinds)
    kept = Kept(cells_of(path, file_format, config.keep) if config.keep else iter(()), config.keep)
    for rows in read_blocks(path, with_labels, bad_rows):
        for partner in partners:
            rows = partner.join(rows, bad_rows)
        if other is None:
            rows = _of_known_domain(rows, encoders.columns.domain, bad_rows)
        if config.on_bad_rows == "error":
            bad_rows.raise_if_any()
        if len(rows):
            output = kept.of(np.union1d(rows.lines, bad_rows.take(rows.lines[-1])))
            table, report = encoders.encode(rows, model.schema, other)
            truth = [_truth(rule, rows.columns) for rule in rules]
            yield _Block(output, table, report, rows.lines, np.stack(truth, 1) if truth else None)
    yield _Block(kept.of(np.unique(bad_rows.take(np.inf))))
    for partner in partners:
        if partner.alone[0]:
            _log.warning("%d rows have no partner in %s", partner.alone[0], partner.name)


def _known(files: list[Path], columns: Columns) -> Description:
    """The description of these feature tables.  Raises ValueError: not those of the training."""
    rules = columns.join
    if files and len(files) != len(rules):
        names = ",".join(rule.file for rule in rules) or "no feature table: leave it out"
        raise ValueError(f"--join has {len(files)} files; the run was trained with {names}.")
    for each in descriptions.DESCRIPTIONS.values() if files else ():
        if all(each.key_of(file) == rule.on[1] for file, rule in zip(files, rules)):
            return replace(each, columns=columns)
    return Description("", columns, {})


def _of_known_domain(rows: Rows, domain: Domain | None, bad_rows: BadRows) -> Rows:
    if domain is None or domain.column not in rows.columns:
        return rows
    cells, known = rows.columns[domain.column], f"one of {', '.join(domain.groups)}"
    remedy = "correct the row, or name a domain that scores such rows with `unknown_domain`"
    unknown = domain.ids(cells) == MISSING
    about = "no domain", bad_rows, UnknownDomainError, domain.column
    return without(rows, unknown, *about, lambda row: ("no domain", cells[row], known, remedy))


def _truth(rule: str, columns: dict[str, pd.Categorical]) -> np.ndarray:
    """(m,) float32 0/1 of a label rule over a column of text, NaN of a cell that is none."""
    name, comparison, value = parse_label(rule)
    cells = pd.Series(columns[name].categories, dtype=object)
    known = cells != ""
    if not isinstance(value, str):
        cells = pd.to_numeric(cells.replace(TRUTH), errors="coerce")
        known = cells.notna() if comparison else cells.isin((0, 1))
    truth = np.asarray(label(rule, {name: cells.to_numpy()}), np.float32)
    return np.append(np.where(known, truth, np.nan), np.nan)[columns[name].codes]


def _metrics(model, scored: list[tuple[np.ndarray, ...]]) -> Iterator[str]:
    """A table per label; scored: (truth, domain, probabilities) of each block."""
    from hamur import metrics
    from hamur.reporting.tables import metrics_table

    truth, domain, probabilities = map(np.concatenate, zip(*scored))
    for t, name in enumerate(model.schema.labels):
        rows = np.flatnonzero(~np.isnan(truth[:, t]))
        found = truth[rows, t], probabilities[rows, t], domain[rows]
        report = metrics.by_group(*found, model.schema.num_domains)
        yield f"\n{name}\n{metrics_table(report, model.schema.domain_names)}"


@contextlib.contextmanager
def _source(config: PredictConfig) -> Iterator[Path]:
    """The input as a file, of which the beginning is read twice."""
    if config.input != STANDARD:
        yield Path(config.input).expanduser()
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"standard_input.{config.format}")
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield path


@contextlib.contextmanager
def _sink(config: PredictConfig) -> Iterator[Callable[[pd.DataFrame], None]]:
    """What writes rows to the output, which has its name once all of them are written."""
    standard = config.output == STANDARD
    path = Path(f"output.{config.format}" if standard else config.output).expanduser()
    with contextlib.ExitStack() as stack:
        if standard:
            file = sys.stdout.buffer
        else:
            temporary = stack.enter_context(replacing(path))
            opened = gzip.open if path.suffix == ".gz" else open
            file = stack.enter_context(opened(temporary, "wb"))
        writer = None

        def write(rows: pd.DataFrame) -> None:
            nonlocal writer
            table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata()
            if path.suffix == parquet.SUFFIX:
                writer = writer or stack.enter_context(pq.ParquetWriter(file, table.schema))
                writer.write_table(table)
                return
            file.write(_csv(table, header=writer is None))
            writer = file

        yield write


def _csv(table: pa.Table, header: bool) -> bytes:
    """Text with quotes where a cell needs them; Arrow quotes every text, or none."""
    names = io.StringIO()
    if header:
        csv.writer(names, lineterminator="\n").writerow(table.column_names)
    for style in ("none", "needed"):
        options = pa.csv.WriteOptions(include_header=False, quoting_style=style)
        try:
            pa.csv.write_csv(table, text := io.BytesIO(), options)
            return names.getvalue().encode() + text.getvalue()
        except pa.ArrowInvalid as error:  # of "none": cells with commas, quotes or line ends
            problem = " ".join(str(error).split())
    raise ValueError(f"--keep: CSV cannot hold a column ({problem}); write a .parquet file.")


def predict(config: PredictConfig) -> None:
    """Score the input block by block, and report on stderr.

    Raises:  ValueError, OSError: nothing has the name of the output then.
    """
    import hamur

    model, began = hamur.load(config.run), time.perf_counter()
    if "cross_domain" in model.about:
        text = "scores rows beside the histories of their users: hamur.load(run).predict(rows, "
        raise ValueError(f"{config.run}: a cross-domain model {text}histories=...) does that.")
    labels, say = model.schema.labels, partial(print, file=sys.stderr)
    names = [f"probability_{name}" for name in labels] if len(labels) > 1 else ["probability"]
    if both := set(names).intersection(config.keep):
        raise ValueError(f"--keep {min(both)}: a column of scores has this name; rename it.")
    counts, scored, compiled = Counter(), [], 0
    with _source(config) as path:
        policy = Policy(config.on_bad_rows, config.max_bad_fraction, config.max_line_mib)
        bad_rows = AllBadRows(path, policy)
        with _sink(config) as write:
            for block in prefetch(_blocks(config, model, bad_rows), depth=1):
                scores = np.full((len(block.output), len(names)), np.nan, np.float32)
                if block.table is not None:
                    pays = len(block.table) >= MANY and (compiled := compiled + 1) <= COMPILED
                    score = model.score_many if pays else model.score
                    found = np.reshape(score(block.table, config.preference), (-1, len(names)))
                    scores[block.output.index.get_indexer(block.lines)] = found
                    counts += _counts(block.report)
                    if block.truth is not None and not np.isnan(block.truth).all():
                        scored.append((block.truth, block.table.domain, found))
                write(block.output.assign(**dict(zip(names, scores.T))))
                counts["rows"] += len(scores)
            bad_rows.raise_if_any()
        for _, line, reason, text in bad_rows.listing()[:LISTED]:
            say(f"line {line}: {reason}: {text}")
    if config.quiet:
        return
    rows, seconds = counts.pop("rows", 0), time.perf_counter() - began
    say(f"{rows:,} rows in {seconds:.1f} s, {rows / seconds:,.0f} rows/s")
    for what, cells in counts.items():
        say(f"{what}: {cells:,}")
    for table in _metrics(model, scored) if scored else ():
        say(table)


def _counts(report: Report) -> Counter:
    counts = Counter({f"unknown or empty {name}": cells for name, cells in report.unknown.items()})
    counts += Counter({f"clipped {name}": cells for name, cells in report.clipped.items()})
    return counts + Counter({"rows of unknown domains": report.other_domain})


def main(script: str, description: str, argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 when all rows are written."""
    config = from_flags(PredictConfig, argv, description)
    return command(script, config, partial(predict, config), "run it again")
