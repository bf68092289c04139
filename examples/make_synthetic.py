"""Generate files in the raw format of a data set, of any size, with a planted signal.

  python examples/make_synthetic.py --dataset ali-ccp --rows 1000000 --out somewhere/ali-ccp
  python examples/make_synthetic.py --dataset ml-1m --rows 100000 --seed 1 --out somewhere/ml-1m
  python examples/make_synthetic.py --dataset aliexpress --countries NL,US --rows 100000 --out ae
  python examples/make_synthetic.py --dataset amazon --users 2000 --out somewhere/amazon

No row is real.  The same arguments give the same bytes.  What only the generator knows, above all
the best AUC that any model can reach, is written beside the folder: <out>.truth.json and .npz.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also runs without installation

if __name__ == "__main__":  # worker processes read this file too and need nothing of it
    from hamur.commands.make_synthetic import main_synthetic

    sys.exit(main_synthetic(__file__, __doc__))
