"""Raw files -> tables, schema and batches.

    load_movielens, load_ali_ccp   files -> Splits(train, valid, test), Schema
    DomainBatches, ShuffledBatches a table -> batches of constant shape
    Table, Splits, Schema, FieldSpec, DataError

    prepare                        raw files of any size -> a cache on disk, resumable
    synthetic                      generated files in the raw formats, with a known best AUC

Here live the file formats, the checks at the door, vocabularies, splits, the cache and the
generators of the bundled samples.  What depends on a model, a loss or a metric does not.
"""

from hamur.data.ali_ccp import load_ali_ccp
from hamur.data.batches import DomainBatches, ShuffledBatches
from hamur.data.movielens import load_movielens
from hamur.data.schema import DataError, FieldSpec, Schema
from hamur.data.table import Splits, Table

__all__ = [
    "DataError",
    "DomainBatches",
    "FieldSpec",
    "Schema",
    "ShuffledBatches",
    "Splits",
    "Table",
    "load_ali_ccp",
    "load_movielens",
]
