"""Train a multi-domain ranking model on MovieLens-1M and report AUC per age group.

  python examples/run_movielens_rank_multi_domain.py --plot
      the generated sample that comes with the repository: about a minute, synthetic rows
  python examples/run_movielens_rank_multi_domain.py --dataset_path path/to/ml-1m --epoch 20
      the real data: the folder with ratings.dat, users.dat and movies.dat, or a joined ml-1m.csv;
      or that of MovieLens-100K, with u.data, u.user and u.item

Domains are the ages up to 24, 25 to 34, and from 35 on; the label is rating > 3.  Results are
written to --save_dir; the table of the test split is printed last.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs without installation

from hamur.commands.ranking import main
from hamur.data import load_movielens

if __name__ == "__main__":
    sys.exit(main(load_movielens, __file__, __doc__, patience=10))
