"""Which library reads Ali-CCP's feature lists fastest: text_engines.py pyarrow|polars|duckdb|numpy

One thread, a block of generated skeleton rows with 14 features each, best of three passes.  Every
engine returns row or count, field, id and value of each feature.  polars and duckdb are needed here
only and are no requirement of the package.  Measured (273 bytes per row): pyarrow 470,000 rows/s,
polars 350,000, NumPy on bytes 200,000 to 470,000 depending on what else runs, duckdb 170,000;
pyarrow is needed for predictions anyway.
"""

import io
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

os.environ.setdefault("POLARS_MAX_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

ROWS, PASSES = 60_000, 3
FIELDS = ["205", "206", "207", *["210"] * 3, "216", "508", "509", "853", "853", "702", "301", "210"]
VALUES = ["1.0"] * 7 + ["0.69315", "2.3979", "1.09861", "0.69315", "5.14166", "1.0", "1.0"]
HEAD = ["sample_id", "click", "conversion", "key", "num", "list"]


def make(rows: int) -> bytes:
    rng = np.random.default_rng(0)
    lines = []
    for row in range(rows):
        ids = rng.integers(1_000_000, 9_999_999, len(FIELDS)).tolist()
        text = "\x01".join(f"{f}\x02{i}\x03{v}" for f, i, v in zip(FIELDS, ids, VALUES))
        lines.append(f"{row + 1},{row % 25 == 0:d},0,{rng.integers(1 << 60):016x},14,{text}\n")
    return "".join(lines).encode()


def read_pyarrow(block: bytes):
    from hamur.data.ali_ccp.lines import SKELETON, parse
    from hamur.data.text.bad_rows import BadRows, Policy

    return parse(block, SKELETON, BadRows(Path("block"), Policy()), 1)


def read_polars(block: bytes):
    import polars as pl

    types = {"key": pl.String, "list": pl.String}
    table = pl.read_csv(
        io.BytesIO(block),
        has_header=False,
        new_columns=HEAD,
        quote_char=None,
        schema_overrides=types,
    )
    rows = table.select(pl.col("list").str.split("\x01"), pl.int_range(pl.len()).alias("row"))
    split = pl.col("list").str.split_exact("\x02", 1).alias("s")
    features = rows.explode("list").select("row", split).unnest("s").rename({"field_0": "field"})
    split = pl.col("field_1").str.split_exact("\x03", 1).alias("s")
    features = features.select("row", "field", split).unnest("s")
    return features.select(
        "row",
        pl.col("field").cast(pl.Categorical),
        pl.col("field_0").cast(pl.Int64),
        pl.col("field_1").cast(pl.Float64),
    )


def read_duckdb(block: bytes):
    import duckdb

    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        file.write(block)
        file.flush()
        types = "{'s':'BIGINT','c':'TINYINT','v':'TINYINT','k':'VARCHAR','n':'INT','l':'VARCHAR'}"
        form = f"header=false, quote='', escape='', delim=',', columns={types}"
        database = duckdb.connect()
        database.execute("set threads=1")
        return database.execute(
            f"""select row, split_part(x, chr(2), 1) field,
                cast(split_part(split_part(x, chr(2), 2), chr(3), 1) as bigint) id,
                cast(split_part(x, chr(3), 2) as double) value
            from (select row_number() over () row, unnest(string_split(l, chr(1))) x
                  from read_csv('{file.name}', {form}))"""
        ).fetchnumpy()


def read_numpy(block: bytes):
    data = np.frombuffer(block, np.uint8)
    marks = np.flatnonzero((data < 4) | (data == ord("\n")) | (data == ord(",")))
    second = np.flatnonzero(data[marks] == 2)
    starts, ends, stops = marks[second] + 1, marks[second + 1], marks[second + 2]
    values, scale, fraction = np.zeros(len(ends)), np.zeros(len(ends)), np.zeros(len(ends), bool)
    for k in range(int((stops - ends).max()) - 1):
        inside = k < stops - ends - 1
        digit = data[np.minimum(ends + 1 + k, len(data) - 1)]
        point = digit == ord(".")
        values = np.where(inside & ~point, values * 10 + digit - 48, values)
        scale += inside & fraction
        fraction |= inside & point
    fields = _digits(data, marks[second - 1] + 1, marks[second])
    return fields, _digits(data, starts, ends), values / 10**scale


def _digits(data: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    numbers = np.zeros(len(starts), np.int64)
    for k in range(int((ends - starts).max())):
        digit = data[np.minimum(starts + k, len(data) - 1)].astype(np.int64) - 48
        numbers = np.where(k < ends - starts, numbers * 10 + digit, numbers)
    return numbers


ENGINES = {
    "pyarrow": read_pyarrow,
    "polars": read_polars,
    "duckdb": read_duckdb,
    "numpy": read_numpy,
}

if __name__ == "__main__":
    chosen, lines = ENGINES[sys.argv[1]], make(ROWS)
    chosen(lines)
    seconds = []
    for _ in range(PASSES):
        begin = time.perf_counter()
        chosen(lines)
        seconds.append(time.perf_counter() - begin)
    size = len(lines) / ROWS
    print(f"{sys.argv[1]}: {ROWS / min(seconds):,.0f} rows/s, {size:.0f} bytes a row")
