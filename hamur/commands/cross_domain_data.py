"""The cross-domain data that the flags of a script name: Amazon categories, MovieLens cut in two,
an ABXI pair, or any two tables."""

from pathlib import Path

import numpy as np

from hamur.data.cross_domain.dataset import USER
from hamur.errors import DataError, DataFormatError, DataValueError
from hamur.files import read_numpy

_RULES = ("split", "on_bad_rows", "max_bad_fraction", "max_line_mib")
_SOURCES = ("dataset_path", "source_table", "target_table", "genres", "pair")


def load(config):
    """(CrossDomainData, harmful (source rows,) bool or None).  config: resolved CrossDomainConfig.

    Raises:  DataError; ValueError: flags that exclude each other, a ground truth of other data.
    """
    rules = {name: getattr(config, name) for name in _RULES} | {"vocabulary": config.fit_on}
    seeded = rules | {"split_seed": config.split_seed}
    flags = [name for name in _SOURCES if getattr(config, name) is not None]
    if config.source_table or config.target_table:
        pair = _load_tables(config, flags, seeded)
    elif config.format == "abxi":
        pair = _load_abxi(config, flags, seeded)
    elif config.genres is not None:
        pair = _load_movielens(config, flags, seeded)
    else:
        pair = _load_amazon(config, rules)
    harmed = None
    if config.exchange_source:
        from hamur.data.cross_domain.exchange import exchange_users

        if config.truth:
            raise ValueError("--exchange_source plants harm, --truth names harm that is there.")
        pair, harmed = exchange_users(pair, config.exchange_source, config.split_seed)
    if config.train_negatives:
        from hamur.data.cross_domain.implicit import with_negatives

        pair = with_negatives(pair, config.train_negatives, config.split_seed)
    if harmed is not None:
        return pair, harmed[pair.source.sparse[:, USER]]
    return pair, read_truth(config.truth, pair)


def _load_tables(config, flags, rules):
    from hamur.data.cross_domain.tables import TableFormat, load_pair

    if flags != ["source_table", "target_table"]:
        raise ValueError(
            "--source_table and --target_table go together, without --dataset_path, --pair and "
            f"--genres; given are {', '.join('--' + name for name in flags)}."
        )
    table_format = TableFormat(
        config.columns, config.sep, not config.no_header, config.time_unit, config.rating_max
    )
    if "rating" not in table_format.roles:
        check_negatives(config, "--columns has no rating")
    return load_pair(
        config.source_table,
        config.target_table,
        table_format,
        positive_above=config.positive_above,
        allow_same=config.allow_same,
        **rules,
    )


def _load_abxi(config, flags, rules):
    from hamur.data.cross_domain.implicit import load_abxi_pair

    if flags != ["dataset_path"]:
        raise ValueError("--format abxi needs --dataset_path, and no --pair, --genres or tables.")
    check_negatives(config, "ABXI files have no ratings")
    return load_abxi_pair(config.dataset_path, config.source_domain, **rules)


def check_negatives(config, why: str) -> None:
    """Raises ValueError where no row would be a negative one."""
    if not config.train_negatives:
        raise ValueError(
            f"{why}: every row would be a positive one. Let unobserved items be negative ones, as "
            "--train_negatives 4, or name a column of ratings, as --columns ...,rating=stars."
        )


def check_classes(pair, tables: bool) -> None:
    """Raises DataValueError where the ratings give the target's training rows one class.

    tables: whether --positive_above moves the bound.
    """
    labels, rule = pair.target.train.labels, pair.target_schema.split
    ratings = rule.get("train_ratings")
    if ratings is None or labels.min() < labels.max():
        return
    (low, high), bound = ratings, rule["positive_above"]
    remedy = "use rows of both classes"
    if tables and low < high:
        remedy = f"give a `positive_above` from {low:g} to below {high:g}"
    raise DataValueError(
        f"one class: all {len(labels):,} training rows of {pair.target_schema.domain_names[1]} are "
        f"{'positive' if labels.all() else 'negative'} ones",
        column="rating",
        value=f"{low:g} to {high:g}",
        expected=f"ratings above {bound:g} and others",
        remedy=remedy,
    )


def _load_movielens(config, flags, rules):
    from hamur.data import load_movielens_pair

    if "pair" in flags:
        raise ValueError("--genres is a cut of MovieLens, --pair names Amazon files; use one.")
    genres = two_names("genres", config.genres, "Drama,Comedy")
    return load_movielens_pair(config.dataset_path, genres, **rules)


def _load_amazon(config, rules):
    from hamur.data import load_amazon_pair

    names = config.pair and two_names("pair", config.pair, "Books,Toys_and_Games")
    meta = {"missing_meta": config.missing_meta, "strict_meta": config.strict_meta}
    try:
        return load_amazon_pair(config.dataset_path, names, **meta, **rules)
    except DataFormatError as error:
        if names or not _is_movielens(error.file):
            raise
        raise ValueError(
            f"{config.dataset_path} holds MovieLens, which has no pair of categories; name two "
            "genres to cut it by, as --genres Drama,Comedy."
        ) from error


def _is_movielens(folder) -> bool:
    from hamur.data.movielens import releases

    try:
        return bool(folder and Path(folder).is_dir() and releases.find(Path(folder)))
    except DataError:
        return False


def two_names(flag: str, text: str, example: str) -> tuple[str, str]:
    """Two different names of a flag.  Raises ValueError."""
    names = tuple(text.split(","))
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise ValueError(f"--{flag} is {text!r}; use two names, source first, as {example}.")
    return names


def read_truth(path: str | None, pair) -> np.ndarray | None:
    """The harmful source rows of generated data, in the order of pair.source."""
    if path is None:
        return None
    source = pair.source_schema.domain_names[0]
    arrays = read_numpy(path, "name the .truth.npz file of the data with --truth")
    name = f"harmful_{source}"
    if not isinstance(arrays, dict) or name not in arrays:
        held = ", ".join(arrays) if isinstance(arrays, dict) else "one array"
        raise ValueError(f"--truth {path}: no {name!r}; it holds {held}.")
    harmful = arrays[name]
    if harmful.ndim != 1 or harmful.dtype.kind not in "biu":
        raise ValueError(f"--truth {path}: {name!r} is no column of 0 and 1.")
    last = int(pair.source.row_id.max())
    if len(harmful) <= last:
        raise ValueError(f"--truth {path}: {len(harmful)} rows, but the source has row {last}.")
    return harmful[pair.source.row_id].astype(bool)
