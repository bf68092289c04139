"""Generated files in the formats of the real data sets; no row of them is real.

    samples    the generators by data set, and the samples under data/
    planted    the signal in the labels, and the best AUC that it allows      draws  shared draws
    movielens, ali_csv, ali_raw (ali_world, ali_text), aliexpress, amazon     one format each
    conflict   tables whose domains disagree, made in memory

Readers of these formats live in the folders of the data sets.
"""

from hamur.data.synthetic.ali_csv import make_ali_ccp
from hamur.data.synthetic.ali_raw import make_ali_ccp_raw
from hamur.data.synthetic.movielens import make_movielens
from hamur.data.synthetic.samples import GENERATORS, generate, write_samples

__all__ = [
    "GENERATORS",
    "generate",
    "make_ali_ccp",
    "make_ali_ccp_raw",
    "make_movielens",
    "write_samples",
]
