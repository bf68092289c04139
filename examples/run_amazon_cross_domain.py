"""Train CoNet, CoNet-S or BIAO on CoNet: predict which target items a user will like from the
user's behaviours in a source domain, which BIAO weights by what they contribute.

  python examples/run_amazon_cross_domain.py
      the generated sample that comes with the repository: a minute, synthetic rows
  python examples/run_amazon_cross_domain.py --dataset_path path/to/raw --pair Books,Toys_and_Games
      raw review and meta files of two Amazon categories
  python examples/run_amazon_cross_domain.py --arms conet_s,uniform,perceptron --seeds 0,1
      several models and seeds, and a table that compares them

--preset official computes as the authors' public code does.  Results are written to
runs/run_amazon_cross_domain/<model>-<seed>, or with --exp_name to the tree of the public code,
conet_record/<pair>/{log,checkpoint}/<exp_name>; the table of the test split is printed last.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs without installation

from hamur.commands.cross_domain import main

if __name__ == "__main__":
    sys.exit(main(__file__, __doc__))
