"""Rows a second and peak memory from a CSV file to the cache of its tables.

    python tests/benchmarks/tables.py --rows 20_000_000 --folder /tmp

Writes a log of clicks of these rows into a temporary folder, reads it with `load_table`, and the
same file with pandas.read_csv and scikit-learn's LabelEncoder per text column, each in a process of
its own; prints rows a second, peak memory, and the ratio of the two.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

COUNTRIES = ("DE", "ES", "FR", "NL", "US")
TEXT = ("user_id", "item_id", "brand", "device", "campaign_code", "country")
BLOCK = 500_000


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--in_memory_rows", type=int, default=5_000_000)
    parser.add_argument("--read", choices=READERS, help="only this, of the file in --table")
    parser.add_argument("--table", type=Path)
    return parser.parse_args(argv)


def write_log(path: Path, options) -> None:
    rng = np.random.default_rng(2022)
    for start in range(0, options.rows, BLOCK):
        n = min(BLOCK, options.rows - start)
        item = (options.items * rng.random(n) ** 3).astype(int)
        score = rng.normal(size=n)
        pd.DataFrame({
            "user_id": np.char.add("user_", rng.integers(0, options.users, n).astype(str)),
            "item_id": np.char.add("item_", item.astype(str)),
            "brand": np.char.add("brand ", (item % 5000).astype(str)),
            "device": rng.choice(["phone", "tablet", "desktop", "tv"], n),
            "campaign_code": rng.integers(0, 900, n),
            "country": np.array(COUNTRIES)[rng.integers(0, 5, n)],
            "price": np.round(np.exp(rng.normal(3, 1, n)), 2),
            "age_of_item": np.where(rng.random(n) < 0.05, np.nan, np.round(rng.random(n) * 900, 1)),
            "score": np.round(score, 6),
            "session_length": rng.integers(1, 10_000, n),
            "time": 1_600_000_000 + (start + np.arange(n)) // 3,
            "click": (rng.random(n) < 1 / (1 + np.exp(2 - score))).astype(int),
        }).to_csv(path, index=False, mode="a", header=not start, lineterminator="\n")  # fmt: skip


def read_ours(options) -> int:
    from hamur.data import load_table
    from hamur.data.columns import Columns
    from hamur.data.domains import Domain

    columns = Columns(
        kinds={},
        labels={"click": "click"},
        sparse=TEXT,
        dense=("price", "age_of_item", "score", "session_length"),
        domain=Domain("country"),
        group="user_id",
        time="time",
    )
    with tempfile.TemporaryDirectory(dir=options.folder) as cache:
        tables, _ = load_table(
            options.table,
            columns,
            cache_dir=cache,
            in_memory_rows=options.in_memory_rows,
        )
        return sum(map(len, tables))


def read_pandas(options) -> int:
    from sklearn.preprocessing import LabelEncoder

    frame = pd.read_csv(options.table)
    for name in TEXT:
        frame[name] = LabelEncoder().fit_transform(frame[name])
    return len(frame)


READERS = {"ours": read_ours, "pandas": read_pandas}


def measure(options) -> None:
    begin = time.perf_counter()
    rows = READERS[options.read](options)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{options.read}: {rows:,} rows in {seconds:.1f} s, {rows / seconds:,.0f} rows/s, "
          f"peak {peak:,.0f} MiB")  # fmt: skip
    print(rows / seconds, file=sys.stderr)


def main(argv=None) -> None:
    options = parse(argv)
    if options.read:
        return measure(options)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        table, rates = Path(folder) / "clicks.csv", []
        write_log(table, options)
        print(f"{options.rows:,} rows, {table.stat().st_size / 1e6:,.0f} MB", flush=True)
        flags = [f"--table={table}", f"--folder={folder}"]
        flags += [f"--in_memory_rows={options.in_memory_rows}"]
        for reader in READERS:
            command = [sys.executable, __file__, f"--read={reader}", *flags]
            run = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
            rates.append(float(run.stderr.splitlines()[-1]))
        print(f"ratio to pandas and LabelEncoder: {rates[0] / rates[1]:.2f}")


if __name__ == "__main__":
    main()
