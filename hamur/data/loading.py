"""From files to cached tables: files that are tables already are read, encoded and cached as a
whole, raw files of any size go through `prepare`; both are memory-mapped from the cache."""

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hamur.data import build_tables, cache, parquet, splits
from hamur.data.build_tables import Encoding, RawColumns
from hamur.data.columns import Columns
from hamur.data.raw_columns import raw_columns
from hamur.data.schema import Schema
from hamur.data.streaming.prepare import DataSet, plain, prepare
from hamur.data.table import Splits
from hamur.data.table_rows import Join, read_file
from hamur.data.text.bad_rows import BadRows, Policy
from hamur.data.text.lines import FileFormat, check_header
from hamur.data.text.reader import column_names
from hamur.errors import CacheError, DataFileNotFoundError, DataFormatError, no_folder

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableSource:
    """Files that are tables already, and all that their tables depend on.

    root: the folder or file that the user named.  files: of one format, their rows one after the
        other; with `joins` (see `Join`: all but its first) the first has the rows, the others their
        features.
    options: what names the cache beside the files, JSON values; None: all fields below.
    notes: further entries of the schema's `split`.
    first_row_id, file_domains: of each file, see `raw_columns`.
    check: raises for rows that cannot be right.
    """

    name: str
    root: Path
    files: tuple[Path, ...]
    columns: Columns
    split: splits.Split
    encoding: Encoding = field(default_factory=Encoding)
    policy: Policy = field(default_factory=Policy)
    options: dict | None = None
    notes: dict = field(default_factory=dict)
    first_row_id: tuple[int, ...] = (-2,)  # after a header, the first row is line 2
    file_domains: tuple[str, ...] = ()
    file_format: FileFormat | None = None
    joins: Sequence[tuple] = ()
    check: Callable[[RawColumns], None] | None = None

    def key(self) -> dict:
        """The options, or by default all that the tables depend on besides the files."""
        if self.options is not None:
            return self.options
        fields = dataclasses.asdict(dataclasses.replace(self, root=None, files=(), check=None))
        return json.loads(json.dumps(fields, default=list))  # an allowed range is a list then

    def digest(self) -> dict[str, str]:
        """Of the files, and of their parts, see `cache.source_digest`."""
        parts = (part for file in self.files for part in parquet.parts(file))
        return cache.source_digest(parts, self.root)


def find_files(
    folder: Path,
    sets: Iterable[tuple[str, ...]],
    fetch: str,
    optional: Collection[str] = (),
    choose: str = "pass one of the files, or a folder of its own",
) -> list[Path]:
    """The files of the one set of names that is in the folder, each plain or as .gz, without
    `optional` if that lacks.

    fetch: the remedy where files are missing; choose: where files of several sets are there.
    Raises:  DataFileNotFoundError: no folder, or a part of a set; DataFormatError: not one set.
    """
    sets = list(sets)
    expected = " or ".join(", ".join(names) for names in sets)
    if not folder.is_dir():
        beside = sorted(p.name for p in folder.parent.glob("*"))[:8]
        raise DataFileNotFoundError(
            no_folder(folder) if folder.exists() else "no such file or folder",
            file=folder,
            value=f"beside it: {', '.join(beside) or 'nothing'}",
            expected=f"a folder of {expected}",
            remedy=fetch,
        )
    cache.check_reader(folder, "a reader of source files")
    present = [[name for name in names if _plain_or_packed(folder / name)] for names in sets]
    present = [names for names in present if names]
    if len(present) != 1:
        names = " and ".join(" + ".join(names) for names in present)
        raise DataFormatError(
            f"ambiguous: {names}" if present else "not recognised",
            file=folder,
            value=f"files: {', '.join(sorted(p.name for p in folder.iterdir())[:8]) or 'none'}",
            expected=f"either {expected}",
            remedy=choose if present else fetch,
        )
    for name in next(names for names in sets if present[0][0] in names):
        if name not in present[0] and name not in optional:
            raise DataFileNotFoundError(
                f"{name} is missing beside {', '.join(present[0])}",
                file=folder / name,
                remedy=fetch,
            )
    return [_plain_or_packed(folder / name) for name in present[0]]


def _plain_or_packed(path: Path) -> Path | None:
    """The file, or the one with .gz added; None without either."""
    packed = path.with_name(path.name + ".gz")
    return path if path.is_file() else packed if packed.is_file() else None


def load_tables(source: TableSource, cache_dir: str | Path | None) -> cache.Loaded:
    """The tables of the source, from a cache that is built when needed.

    One folder for a source and its options; a changed source replaces it, a damaged one is
    repaired.
    Raises:  DataError; OSError: the given cache_dir cannot be written (in the default folder that
        is only a warning, and the tables stay in memory).
    """
    digest, options = source.digest(), source.key()
    folder = cache.folder_for(source.name, source.root, options, cache_dir)
    made_from = {"source": digest, "options": options}
    return through_cache(folder, made_from, cache_dir, lambda: read_tables(source, digest))


def through_cache(
    folder: Path,
    fingerprint: dict,
    cache_dir: str | Path | None,
    read: Callable[[], tuple[Splits, Schema, list[BadRows]]],
) -> cache.Loaded:
    """The tables of a cache, which is written where it is not there, damaged, or of something else
    than the fingerprint says.  cache_dir, OSError: see `load_tables`."""
    if folder.exists():
        try:
            return cache.open_cache(folder, fingerprint)
        except CacheError as error:
            _log.warning("building the cache again: %s", error)
    splits, schema, bad_rows = read()
    try:
        cache.write_cache(folder, splits, schema, fingerprint, bad_rows)
    except OSError as error:
        if cache_dir is not None:
            raise
        _log.warning("no cache: %s. Set HAMUR_CACHE to a folder that can be written.", error)
        return splits, schema
    with contextlib.suppress(CacheError):  # another process is just replacing it
        return cache.open_cache(folder, fingerprint)
    return splits, schema


def read_tables(
    source: TableSource, digest: dict[str, str]
) -> tuple[Splits, Schema, list[BadRows]]:
    """The tables of the source and what was left out of each file."""
    for file in source.files if source.file_format is None else ():
        check_header(file, column_names(file), source.columns.names)
    bad_rows = [BadRows(file, source.policy) for file in source.files]
    joins = [Join(file, *join) for file, join in zip(bad_rows[1:], source.joins)]
    rows = [
        read_file(file, source.columns, source.file_format, joins)
        for file in (bad_rows[:1] if joins else bad_rows)
    ]
    raw = raw_columns(rows, source.columns, source.first_row_id, source.file_domains)
    if source.check is not None:
        source.check(raw)
    index = splits.divide(source.split, list(map(len, rows)), raw.group, raw.time)
    split = {"rule": source.split.rule, "seed": source.split.seed}
    split |= source.notes | {"source": digest}
    about = source.encoding, source.name, split, bad_rows, source.columns
    tables = build_tables.build(raw, index, *about)
    return *tables, bad_rows


def load_raw(
    dataset: DataSet,
    root: Path,
    options,
    allow_leakage: tuple[str, ...],
    cache_dir: str | Path | None,
) -> cache.Loaded:
    """The tables of raw files, prepared where these options have not been yet.

    options: of the data set's class.
    Raises:  DataError; OSError: see `prepare`.
    """
    key = plain(options) | {"allow": list(allow_leakage)}
    folder = cache.folder_for(dataset.name, root, key, cache_dir)
    prepared = prepare(dataset, root, folder, options, overwrite=True, allow_leakage=allow_leakage)
    return cache.open_cache(prepared.folder)
