"""Score raw rows with a trained model.

  python examples/predict.py --run RUN --input new.csv --output scores.csv
      a row of the output per row of the input; --keep user_id,item_id repeats columns of it
  zcat new.csv.gz | python examples/predict.py --run RUN --input - --output - > scores.csv
      standard input and output; --format parquet if they are not CSV

The input holds the columns of the training, in any order, as raw values; an unknown value of a
feature is scored as such.  Where it has the label too, the metrics per domain are printed to
stderr.  The output has its name only when it is complete.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs without installation

from hamur.commands.predict import main

if __name__ == "__main__":
    sys.exit(main(__file__, __doc__))
