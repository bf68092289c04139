"""Train any ranking or multi-task model on a table of your own: one label and domains, or several.

  python examples/run_own_table.py --table clicks.csv --label click --domain country
      a multi-domain ranking model; what the columns are is inferred and printed
  python examples/run_own_table.py --table adult.csv --model_name mmoe --domain gender
                                   --label "income==>50K,marital-status==Never-married"
      a multi-task model; --model_name mmoe --help lists its flags
  python examples/run_own_table.py --table ratings.csv --join movies.csv --domain genres:first
      files of a known layout, here that of ml-latest, need no description

CSV, TSV, Parquet and Feather, plain or packed, and the data sets of the other scripts.  Results are
written to --save_dir, the description of the columns to columns.json there; edited, it is passed
back as --columns columns.json.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs without installation

from hamur.commands.own_table import main

if __name__ == "__main__":
    sys.exit(main(__file__, __doc__))
