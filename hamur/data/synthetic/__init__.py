"""Generated files in the formats of the real data sets; no row of them is real.

    samples     the generators by data set, and the samples under data/
    signals     draws, the signal in the labels, and the best AUC that it allows
    movielens, ali_ccp (ali_world: rows of the raw files), aliexpress, amazon    one format each
    conflict    tables whose domains or tasks disagree, made in memory

Same arguments, same bytes.  Readers of these formats are in the folders of the data sets.
"""

from hamur.data.synthetic.ali_ccp import make_ali_ccp, make_ali_ccp_raw
from hamur.data.synthetic.movielens import make_movielens
from hamur.data.synthetic.samples import GENERATORS, SEED, generate, write_samples

__all__ = [
    "GENERATORS",
    "SEED",
    "generate",
    "make_ali_ccp",
    "make_ali_ccp_raw",
    "make_movielens",
    "write_samples",
]
