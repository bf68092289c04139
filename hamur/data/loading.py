"""What loaders of files share: small processed files are read, encoded and cached as a whole, raw
files of any size go through `prepare`; either way the tables are memory-mapped from a cache."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

from hamur.data import build_tables, cache, splits
from hamur.data.schema import Schema
from hamur.data.streaming.prepare import DataSet, plain, prepare
from hamur.data.table import Splits
from hamur.data.text.bad_rows import BadRows, Policy

Read = Callable[[list[BadRows]], tuple[build_tables.RawColumns, splits.Index]]


def load_processed(
    name: str,
    source: Path,
    files: Iterable[Path],
    read: Read,
    rules: build_tables.Encoding,
    policy: Policy,
    own_options: dict,
    cache_dir: str | Path | None,
    split: dict,
    **described,
) -> cache.Loaded:
    """The tables of these files below the folder `source`.

    read: the BadRows of each file -> all rows, and the positions of train, valid and test in them;
    own_options: what the tables depend on besides the files, `rules` and `policy`;
    split: how the rows were divided, for the schema; described: see `build_tables.assemble`.
    Raises:  DataError; OSError: see `cache.load_or_build`.
    """
    files = list(files)
    found = [(file, *cache.source_digest([file]).values()) for file in files]
    digest = {str(file.relative_to(source)): of_file for file, of_file in found}
    split = {**split, "encoding": "identity" if rules.identity else "train", "source": digest}

    def build() -> tuple[Splits, Schema, list[BadRows]]:
        bad_rows = [BadRows(file, policy) for file in files]
        tables, schema = build_tables.assemble(
            *read(bad_rows), rules, bad_rows, name=name, split=split, **described
        )
        return tables, schema, bad_rows

    options = own_options | dataclasses.asdict(rules) | dataclasses.asdict(policy)
    return cache.load_or_build(name, source, options, digest, build, cache_dir)


def load_raw(
    dataset: DataSet,
    source: Path,
    options,
    allow_leakage: tuple[str, ...],
    cache_dir: str | Path | None,
) -> cache.Loaded:
    """The tables of raw files, prepared where these options have not been yet.

    options: of the data set's class.
    Raises:  DataError; OSError: see `prepare`.
    """
    root = cache.default_folder() if cache_dir is None else Path(cache_dir).expanduser()
    key = cache.key_of(source, plain(options) | {"allow": list(allow_leakage)})
    folder = root / f"{dataset.name}-{key}"
    made = prepare(dataset, source, folder, options, overwrite=True, allow_leakage=allow_leakage)
    return cache.open_cache(made.folder)
