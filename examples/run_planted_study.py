"""Do learned weights find harmful source behaviours?  A study on generated pairs (synthetic).

  python examples/run_planted_study.py
      seven arms, three seeds: about half an hour on two cores; prints the table that compares them
  python examples/run_planted_study.py --category_bias 0 --exp_name harder
      without a bias for each category, which makes the task easy

Results are written to conet_record/planted/log/<exp_name>.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs without installation

from hamur.studies.planted import main

if __name__ == "__main__":
    sys.exit(main(__file__, __doc__))
