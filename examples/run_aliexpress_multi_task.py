"""Train a multi-task model on AliExpress search logs: who clicks, and who clicks and buys?

  python examples/run_aliexpress_multi_task.py --model_name pomoe --dataset_name AliExpress_US
      the generated sample that comes with the repository: about a minute, synthetic rows
  python examples/run_aliexpress_multi_task.py --model_name mmoe --dataset_path path/to/AliExpress
      the real data: a folder with AliExpress_NL/train.csv and so on, or the raw files
  python examples/run_aliexpress_multi_task.py --model_name pomoe --dataset_name Synthetic \
      --head shared_score --task_num 3
      generated rows whose tasks disagree; front.png also shows their exact front

pomoe is evaluated at many preferences: front.csv and front.png show the trade-off.
Results are written to --save_dir; the table of the test split is printed last.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs without installation

from hamur.commands.multi_task import main
from hamur.data import load_aliexpress

if __name__ == "__main__":
    sys.exit(main(load_aliexpress, __file__, __doc__))
