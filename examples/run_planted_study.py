"""Do learned weights find harmful source behaviours?  A study on generated pairs (synthetic).

  python examples/run_planted_study.py
      seven arms, three seeds: about half an hour on two cores; prints the table that compares them
  python examples/run_planted_study.py --category_bias 0 --save_dir runs/harder
      without a bias for each category, which makes the task easy

Results are written to runs/run_planted_study, or to --save_dir.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs without installation

from hamur.studies.planted import main

if __name__ == "__main__":
    sys.exit(main(__file__, __doc__))
