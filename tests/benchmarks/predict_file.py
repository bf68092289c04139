"""Rows a second and peak memory of scoring a file: raw rows in, probabilities out.

    python tests/benchmarks/predict_file.py --rows 5_000_000 --folder /tmp

Writes a log of clicks (that of `tables.py`), trains `mlp_adp` for one epoch on its first rows, and
runs `examples/predict.py` on all of it, whole processes with the compilation; also with two columns
kept, which are read a second time as they stand in the file.
"""

import argparse
import itertools
import os
import sys
import tempfile
from pathlib import Path

from peak_memory import measure
from tables import write_log

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TRAINING = ["--label", "click", "--domain", "country", "--model_name", "mlp_adp", "--epochs", "1"]


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--train_rows", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    return parser.parse_args(argv)


def run(script: str, *flags) -> dict:
    return measure([sys.executable, str(EXAMPLES / script), *map(str, flags), "--quiet"])


def main(argv=None):
    options = parse(argv)
    os.environ.setdefault("GLOG_v", "3")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows, head, model = (Path(folder, name) for name in ("rows.csv", "head.csv", "run"))
        write_log(rows, options)
        with rows.open() as file, head.open("w") as first:
            first.writelines(itertools.islice(file, options.train_rows + 1))
        run("run_own_table.py", "--table", head, *TRAINING, "--save_dir", model)
        for keep in ([], ["--keep", "user_id,item_id"]):
            flags = ("--run", model, "--input", rows, "--output", Path(folder, "scores.csv"))
            found = run("predict.py", *flags, *keep)
            speed = options.rows / found["seconds"]
            print(f"{' '.join(keep) or 'scores alone'}: {speed:,.0f} rows/s, {found}", flush=True)


if __name__ == "__main__":
    main()
