"""Parquet files and folders of parts, Feather files and tables in memory as columns; values are
cast in Arrow, so that none changes its type before it is judged.

Each cell is read as the same cell of a CSV file would be.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hamur.data.arrow_cells import LISTS, TEXT, WHOLE, cells_of, is_of
from hamur.data.text.bad_rows import TABLES
from hamur.data.text.cells import EXPECTED, Cells
from hamur.data.text.lines import FileFormat
from hamur.errors import DataFormatError

SUFFIX = ".parquet"
MAX_ROWS = 2**31  # a small file may hold one value any number of times, or say that it does
_BLOCK_ROWS = 1 << 20
# What a column holds -> its Arrow types.
_TYPES = {
    "nothing": (pa.types.is_null,),
    "numbers": (*WHOLE, pa.types.is_floating, pa.types.is_decimal),
    "text": TEXT,
    "booleans": (pa.types.is_boolean,),
    "dates": (pa.types.is_date,),
    "times": (pa.types.is_timestamp,),
}
# What a column holds -> the kinds, see `FileFormat`, that it may have; the others have all.
_KINDS = {
    "booleans": ("int", "category", "float", "number", "text", "code"),
    "dates": ("time", "text", "code"),
    "times": ("time",),
}


def is_parquet(path: Path) -> bool:
    """Whether it is a Parquet or Feather file by its name, or a folder of parts."""
    return bool(parts(path)) if path.is_dir() else path.suffix in TABLES


def parts(path: Path) -> list[Path]:
    """The file, or the files of a folder in the order of their names."""
    if isinstance(path, pa.Table) or not path.is_dir():
        return [path]
    return sorted(part for part in path.glob("*" + SUFFIX) if part.name[0] not in "._")


def column_names(source: Path | pa.Table) -> list[str]:
    """Of a table, or of all parts.  Raises DataFormatError: no Parquet, or parts have others."""
    first, *others = parts(source)
    names = schema_of(first).names
    for part in others:
        _check_part(part, sorted(schema_of(part).names), sorted(names), first)
    return names


def read_blocks(source: Path | pa.Table, file_format: FileFormat) -> Iterator[dict[str, Cells]]:
    """The cells of every column, in blocks of rows; the parts one after the other.

    Raises:  DataFormatError: no Parquet, damaged, a type that the kind of a column cannot have,
        parts of different types, too many rows.
    """
    files, known = parts(source), {}
    for part in files:
        schema = schema_of(part)
        for name, kind in file_format.kinds.items():
            held = _held(part, schema, name, kind, name in file_format.separators)
            if held != "nothing":
                _check_part(part, {name: held}, {name: known.setdefault(name, held)}, files[0])
    for part in files:
        for batch in batches(part, list(file_format.kinds)):
            yield {
                name: cells_of(batch.column(name), kind, name, file_format)
                for name, kind in file_format.kinds.items()
            }


def _check_part(part: Path, found: object, expected: object, first: Path) -> None:
    if found != expected:
        raise DataFormatError(
            "a part with other columns",
            file=part,
            value=found,
            expected=f"{expected} as in {first.name}",
            remedy="write all parts alike, or remove the one that does not belong to the table",
        )


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Raises DataFormatError for whatever the library says of the file."""
    path.open("rb").close()  # an error of the system has the file's name
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        what = "Parquet" if path.suffix == SUFFIX else "Arrow"
        raise DataFormatError(
            f"no {what} file, or a damaged one ({reason})", file=path, remedy="write it again"
        ) from None


def schema_of(source: Path | pa.Table) -> pa.Schema:
    if isinstance(source, pa.Table):
        return source.schema
    with _named_errors(source):
        if source.suffix == SUFFIX:
            schema = pq.read_schema(source)
        else:
            with pa.OSFile(str(source)) as file:
                schema = pa.ipc.open_file(file).schema
        str(schema.names)  # fails here where they are no text
        return schema


def _held(path: Path | pa.Table, schema: pa.Schema, name: str, kind: str, lists: bool) -> str:
    """What the column holds, "lists" only where there may be; DataFormatError: no such column, or
    a type that the kind cannot have."""
    path = None if isinstance(path, pa.Table) else path
    if name not in schema.names:
        raise DataFormatError(
            "no such column",
            file=path,
            column=name,
            expected="one of " + ", ".join(schema.names),
            remedy="name a column of the file, or add this one",
        )
    if schema.names.count(name) > 1:
        problem = "two columns of one name"
        raise DataFormatError(problem, file=path, column=name, remedy="rename one")
    field = schema.field(name)
    held = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    coarse = kind == "time" and is_of(held, (pa.types.is_float16, pa.types.is_float32))
    for content, types in _TYPES.items():
        if is_of(held, types) and kind in _KINDS.get(content, (kind,)) and not coarse:
            return content
    if lists and is_of(held, LISTS) and is_of(held.value_type, (*TEXT, *WHOLE)):
        return "lists"
    raise DataFormatError(
        f"the type {' '.join(str(field.type).split())} does not fit",
        file=path,
        column=field.name,
        expected="integers or float64, which hold seconds" if coarse else EXPECTED[kind],
        remedy="cast the column and write the file again, or name another column",
    )


def batches(source: Path | pa.Table, names: list[str]) -> Iterator[pa.RecordBatch]:
    """Blocks of valid rows."""
    if isinstance(source, pa.Table):
        table = source.select(names)
        empty = [pa.RecordBatch.from_pylist([], table.schema)]
        yield from table.combine_chunks().to_batches(_BLOCK_ROWS) if len(table) else empty
        return
    rows, read = None, 0
    with _named_errors(source), ExitStack() as stack:
        if source.suffix == SUFFIX:
            # Text comes as a dictionary: a small file may hold a long one any number of times.
            texts = [field.name for field in pq.read_schema(source) if is_of(field.type, TEXT)]
            options = dict(read_dictionary=texts, page_checksum_verification=True)
            file = stack.enter_context(pq.ParquetFile(source, **options))
            rows = file.metadata.num_rows
            stored = file.iter_batches(_BLOCK_ROWS, columns=names) if rows <= MAX_ROWS else ()
        else:
            fields = sorted(map(schema_of(source).names.index, names))
            options = pa.ipc.IpcReadOptions(included_fields=fields)
            file = stack.enter_context(pa.OSFile(str(source)))
            table = stack.enter_context(pa.ipc.open_file(file, options=options))
            stored = map(table.get_batch, range(table.num_record_batches))
        for batch in stored:
            batch.validate(full=True)
            read += len(batch)
            if read > MAX_ROWS:
                break
            starts = range(0, len(batch), _BLOCK_ROWS)
            yield from (batch.slice(start, _BLOCK_ROWS) for start in starts)
    rows = read if rows is None else rows
    if rows > MAX_ROWS or read != rows:
        raise DataFormatError(
            f"{rows} rows are announced",
            file=source,
            value=read,
            expected=f"as many rows, and at most {MAX_ROWS}",
            remedy="write it again, in several files if need be",
        )
