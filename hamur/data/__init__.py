"""Files -> tables, schema and batches.

    load_movielens, load_ali_ccp, load_aliexpress, load_amazon
                                   files -> Splits(train, valid, test), Schema
    load_scenarios                 the processed CSVs of the Scenario-Wise-Rec benchmark
    detect.load                    the data set of a folder, recognised by its files
    load_amazon_pair, load_movielens_pair, load_pair
                                   files -> CrossDomainData of a source and a target domain
    load_table                     any table: CSV, Parquet, DataFrame, ...
    Columns                        what the columns of a table mean, for `load_table`
    DomainBatches, ShuffledBatches a table -> batches of constant shape
    Table, Splits, Schema, FieldSpec, DataError

    streaming.prepare              raw files of any size -> a cache on disk, resumable
    synthetic                      generated files in the raw formats, with a known best AUC

File formats, checks of the input, vocabularies, splits, the cache and the generators of the
samples are here; nothing that depends on a model, a loss or a metric is.
"""

import importlib

# Each name is imported when it is first asked for: one data set does not bring all the others.
_MODULES = {
    ".errors": ("DataError",),  # of the package above this one
    "ali_ccp.load": ("load_ali_ccp",),
    "aliexpress.load": ("load_aliexpress",),
    "amazon": ("load_amazon", "load_amazon_pair"),
    "batches": ("DomainBatches", "ShuffledBatches"),
    "columns": ("Columns",),
    "cross_domain": ("CrossDomainData", "TableFormat", "load_pair"),
    "movielens.load": ("load_movielens",),
    "movielens.pair": ("load_movielens_pair",),
    "own_table": ("load_table",),
    "scenarios": ("load_scenarios",),
    "schema": ("FieldSpec", "Schema"),
    "table": ("Splits", "Table"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str):
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
