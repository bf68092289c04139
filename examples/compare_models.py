"""Train many multi-domain models over several seeds on one split, and report which is better.

  python examples/compare_models.py --models mlp,mlp_adp,domain_feature --seeds 3 --epochs 3
      the generated sample of MovieLens-1M that comes with the repository
  python examples/compare_models.py --dataset ml-1m --table path/to/ml-1m --seeds 10 --jobs 2
      the real data, with all models: hours
  python examples/compare_models.py --table clicks.csv --label click --domain country
      a table of your own, described by the flags of run_own_table.py
  python examples/compare_models.py --models mlp,mlp_adp --search 20 --search_rows 2000 --seeds 5
      each model with options of its own, from a search of 20 trials on validation rows

A model is a name of --model_name of the other scripts; star+adapter has HAMUR's adapter cells, and
mlp@mlp_adp is widened to the parameters of mlp_adp.  leaderboard.csv, leaderboard.md, costs.csv and
report.html are written to --save_dir, the runs below it; the same command given again, also after
kill -9, trains only what is missing there.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs without installation

from hamur.studies.comparison import main

if __name__ == "__main__":
    sys.exit(main(__file__, __doc__))
