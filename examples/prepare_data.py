"""Prepare a data set: raw files -> memory-mapped columns that the training scripts read.

  python examples/prepare_data.py --dataset ali-ccp --raw path/to/ali-ccp --out caches/ali-ccp
      the four raw files, plain, .gz or in a .tar.gz; --multi mean keeps multi-valued fields whole
  python examples/prepare_data.py --dataset ml-1m --raw path/to/ml-1m --out caches/ml-1m
      --download fetches the official archive into --raw first; --genres multi keeps all genres
  python examples/prepare_data.py --dataset aliexpress --raw path/to/archives --out caches/nl
      aliexpress_NL_datasets.zip as it is, its inner zips, or their csv files
  python examples/prepare_data.py --dataset amazon --raw path/to/amazon --out caches/books-toys
      reviews_<Category>_5.json.gz and meta_<Category>.json.gz of two categories

After an interruption, even by kill -9, the same command continues; --out is absent or complete at
any moment.  The statistics are printed and written to stats.json; with --on_bad_rows skip,
bad_rows.csv lists the rows that were left out.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs without installation

if __name__ == "__main__":  # worker processes read this file too and need nothing of it
    from hamur.commands.prepare_data import main_prepare

    sys.exit(main_prepare(__file__, __doc__))
