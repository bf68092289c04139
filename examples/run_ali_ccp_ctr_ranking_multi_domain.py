"""Train a multi-domain click model on Ali-CCP and report AUC per domain (field 301).

  python examples/run_ali_ccp_ctr_ranking_multi_domain.py --plot
      the generated sample that comes with the repository: about a minute, synthetic rows
  python examples/run_ali_ccp_ctr_ranking_multi_domain.py --dataset_path path/to/ali-ccp
      the real data: the folder with ali_ccp_train.csv, ali_ccp_val.csv and ali_ccp_test.csv

Results are written to --save_dir; the table of the test split is printed last.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs without installation

from hamur.commands.ranking import main
from hamur.data import load_ali_ccp

if __name__ == "__main__":
    sys.exit(main(load_ali_ccp, __file__, __doc__, patience=5))
