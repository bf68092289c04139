"""Train every arm of the ablation study of HAMUR's adapter and write one table.

  python examples/run_ablation.py
      generated rows whose two domains disagree about every item
  python examples/run_ablation.py --dataset_path path/to/ml-1m --backbone dcn_md --batch_size 4096
      the real MovieLens-1M: hours on a few cores
  python examples/run_ablation.py --dataset_path path/to/ml-1m --backbone dcn_md --preset best \\
      --batch_size 2048 --epochs 12 --patience 3
      forms of the adapter in preset best, each against the plain backbone

The arms are the plain backbone, its parameter-matched control, the adapter model as in the public
code and as in the paper, both with every single difference changed to the other form, and smaller
instance matrices; with --preset best, other sizes, places and starts of that preset's cells.
ablation.md, .csv and .json are written to --save_dir; started again with the same --save_dir, the
script trains only the arms that are missing there.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs without installation

from hamur.data import load_movielens
from hamur.studies.ablation import main

if __name__ == "__main__":
    sys.exit(main(load_movielens, __file__, __doc__))
