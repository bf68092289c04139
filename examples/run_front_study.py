"""Measure whether one preference model reaches the front that one model per preference reaches.

  python examples/run_front_study.py
      two tasks, three seeds: generated rows whose exact front is known
  python examples/run_front_study.py --task_num 3 --arms linear,smooth_tchebycheff,per_task

The public code's network and loss are trained on the same rows and listed in the same table.
study-tasks<T>.md and .json are written to --save_dir.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs without installation

from hamur.studies.fronts import main

if __name__ == "__main__":
    sys.exit(main(__file__, __doc__))
