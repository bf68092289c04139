"""Raw files -> tables, schema and batches.

    load_movielens, load_ali_ccp, load_aliexpress, load_amazon
                                   files -> Splits(train, valid, test), Schema
    load_scenarios                 the processed CSVs of the Scenario-Wise-Rec benchmark
    detect.load                    whichever of these a folder holds
    load_amazon_pair, load_movielens_pair, load_pair
                                   files -> CrossDomainData of a source and a target domain
    DomainBatches, ShuffledBatches a table -> batches of constant shape
    Table, Splits, Schema, FieldSpec, DataError

    prepare                        raw files of any size -> a cache on disk, resumable
    synthetic                      generated files in the raw formats, with a known best AUC

Here live the file formats, the checks at the door, vocabularies, splits, the cache and the
generators of the bundled samples.  What depends on a model, a loss or a metric does not.
"""

from hamur.data.ali_ccp import load_ali_ccp
from hamur.data.aliexpress import load_aliexpress
from hamur.data.amazon import load_amazon, load_amazon_pair
from hamur.data.batches import DomainBatches, ShuffledBatches
from hamur.data.cross_domain import CrossDomainData, load_pair
from hamur.data.errors import DataError
from hamur.data.movielens.load import load_movielens
from hamur.data.movielens.pair import load_movielens_pair
from hamur.data.scenarios import load_scenarios
from hamur.data.schema import FieldSpec, Schema
from hamur.data.table import Splits, Table

__all__ = [
    "CrossDomainData",
    "DataError",
    "DomainBatches",
    "FieldSpec",
    "Schema",
    "ShuffledBatches",
    "Splits",
    "Table",
    "load_ali_ccp",
    "load_aliexpress",
    "load_amazon",
    "load_amazon_pair",
    "load_movielens",
    "load_movielens_pair",
    "load_pair",
    "load_scenarios",
]
