"""The data sets by name, and which of them a folder holds, by the files in it."""

from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

from hamur.data import cache
from hamur.data.ali_ccp.load import load_ali_ccp
from hamur.data.ali_ccp.raw import DATASET as ALI_CCP
from hamur.data.aliexpress.load import load_aliexpress
from hamur.data.aliexpress.raw import DATASET as ALIEXPRESS
from hamur.data.amazon import load_amazon
from hamur.data.amazon.load import DATASET as AMAZON
from hamur.data.movielens.load import DATASET as MOVIELENS
from hamur.data.movielens.load import load_movielens
from hamur.data.scenarios import FILE_NAMES, load_scenarios
from hamur.data.schema import Schema
from hamur.data.table import Splits
from hamur.errors import DataFileNotFoundError, DataFormatError, no_folder

# What examples/prepare_data.py prepares.
DATASETS = {dataset.name: dataset for dataset in (ALI_CCP, ALIEXPRESS, AMAZON, MOVIELENS)}
# Loader -> patterns of files, one of which is enough.
_SIGNS = {
    load_ali_ccp: ("ali_ccp_train*.csv", "sample_skeleton_*", "sample_*.t*gz"),
    load_movielens: ("ratings.dat", "u.data", "movies.csv", "ml-1m*.csv"),
    load_aliexpress: (
        *("train.csv", "aliexpress_train_sample.csv", "AliExpress_*", "aliexpress_*_datasets.zip"),
        *("??_item_train.csv", "??_item_train.zip", "??_item_train.csv.gz"),
    ),
    load_amazon: ("reviews_*.json*", "meta_*.json*"),
    load_scenarios: FILE_NAMES,
}


# Single files that are a whole data set.
_FILES = {load_scenarios: FILE_NAMES, load_movielens: ("ml-1m*.csv",)}


def load(path: str | Path, cache_dir: str | Path | None = None) -> tuple[Splits, Schema]:
    """The tables of the data set in a folder, by its loader's default options.

    cache_dir: as in `load_movielens`.
    Raises:  DataFileNotFoundError; DataFormatError: nothing is recognised, or two sets are; and
        what the loader raises.
    """
    source = Path(path).expanduser()
    if not source.is_dir():
        raise DataFileNotFoundError(
            no_folder(source), file=source, remedy="pass the folder of a data set"
        )
    loader = loader_of(source)
    if loader is None:
        raise DataFormatError(
            "no data set is recognised",
            file=source,
            value=", ".join(sorted(p.name for p in source.iterdir())[:8]),
            expected="the files of one data set",
            remedy="pass the folder that holds the files of a set",
        )
    return loader(source) if loader is load_amazon else loader(source, cache_dir=cache_dir)


def load_prepared(path: str | Path, cache_dir: str | Path | None = None) -> tuple[Splits, Schema]:
    """The tables of a cache that examples/prepare_data.py made."""
    return cache.open_cache(Path(path).expanduser())


def loader_of(source: Path) -> Callable | None:
    """What loads the data set of a folder, or a file that is one; None where none is recognised.

    Raises:  DataFormatError: files of several sets.
    """
    if source.is_dir() and cache.is_cache(source):
        return load_prepared
    if not source.is_dir():
        name = source.name.removesuffix(".gz")
        found = (load for load, names in _FILES.items() if any(fnmatch(name, n) for n in names))
        return next(found, None)
    matches = {
        loader: names
        for loader, patterns in _SIGNS.items()
        if (names := [file.name for pattern in patterns for file in _files(source, pattern)])
    }
    if len(matches) > 1:
        raise DataFormatError(
            "ambiguous: files of several data sets",
            file=source,
            value=", ".join([name for names in matches.values() for name in names][:8]),
            expected="the files of one data set",
            remedy="keep the sets in folders of their own, or call the loader of one",
        )
    return next(iter(matches), None)


def _files(folder: Path, pattern: str) -> list[Path]:
    return [*folder.glob(pattern), *folder.glob(pattern + ".gz")]
