"""A new domain of few rows, added to a model of the others: which parameters should it train?

    python tests/benchmarks/new_domain.py ML_1M --work DIR [--domains occupation,genres:first]

One occupation (students, 4) and one first genre (Thriller) of MovieLens-1M are left out of a
training, and added to its model with 100, 1,000 and 10,000 rows: training the new adapter cells
only, all that is of the domain alone, or everything; against a model of these rows alone.  AUC on
test rows of the new domain, mean over seeds, and the paired difference to `domain` with a 95 %
interval; the epoch is chosen on 2,000 validation rows of the domain.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from hamur.reporting.compare import compare, spread

SCRIPT = Path(__file__).parents[2] / "examples" / "run_own_table.py"
LEFT_OUT = {"occupation": "4", "genres:first": "Thriller"}
SIZES, VALID = (100, 1_000, 10_000), 2_000
WAYS = ("adapter", "domain", "all", "nothing")
BASE = ["--columns", "ml-1m", "--model_name", "mlp_adp", "--min_domain_rows", "0"]
BASE += ["--epochs", "12", "--patience", "3", "--quiet", "--resume"]
FURTHER = ["--epochs", "30", "--patience", "5", "--batch_size", "256", "--quiet", "--resume"]


def domain_of(folder, column):
    """The ratings, as lines, and the value of the column in each."""
    lines = (folder / "ratings.dat").read_text(encoding="latin1").splitlines()
    key, file, place = (0, "users.dat", 3) if column == "occupation" else (1, "movies.dat", 2)
    rows = (each.split("::") for each in (folder / file).read_text("latin1").splitlines())
    values = {row[0]: row[place].split("|")[0] for row in rows}
    return np.array(lines), np.array([values[line.split("::")[key]] for line in lines])


def run(table, folder, *flags):
    """The test AUC of every domain of a run, by its name, and of all rows."""
    command = [sys.executable, SCRIPT, "--table", table, "--save_dir", folder, *flags]
    subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)
    return json.loads((folder / "metrics.json").read_text())["test"]["auc"]


def measure(folder, work, column, seed):
    """{(rows, way): test AUC of the new domain}"""
    lines, values = domain_of(folder, column)
    name = LEFT_OUT[column]
    work = work / f"{column.partition(':')[0]}-{seed}"
    work.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)

    def written(part, rows):
        path = work / part / "ratings.dat"  # the layout is known by this name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(rows) + "\n", encoding="latin1")
        return path

    joined = f"{folder}/users.dat:user_id,{folder}/movies.dat:movie_id"
    base = [*BASE, "--join", joined, "--domain", column, "--seed", seed]
    others = written("others", lines[values != name])
    run(others, work / "model", *base, "--split", "random")
    new = random.permutation(lines[values == name])
    valid, rest = new[:VALID], new[VALID:]
    test, pool = rest[: len(rest) // 3], rest[len(rest) // 3 :]
    apart = ["--valid_table", written("valid", valid), "--test_table", written("test", test)]
    found = {}
    for rows in SIZES:
        if rows > len(pool):
            continue
        table = written(f"train-{rows}", pool[:rows])
        for way in WAYS:
            flags = ["--init_from", work / "model", "--add_domain", name, "--train_only", way]
            flags = [*base, *FURTHER] if way == "nothing" else [*flags, *FURTHER]
            found[rows, way] = run(table, work / f"{way}-{rows}", *flags, *apart)
            print(column, seed, rows, way, f"{found[rows, way]:.4f}", flush=True)
    return found


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("ml_1m", type=Path, help="the folder of ratings.dat, users.dat, movies.dat")
    parser.add_argument("--work", type=Path, required=True, help="where runs and tables are kept")
    parser.add_argument("--domains", default=",".join(LEFT_OUT))
    parser.add_argument("--seeds", default="1,2,3")
    options = parser.parse_args(argv)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    rows = []
    for column in options.domains.split(","):
        by_seed = {s: measure(options.ml_1m.resolve(), options.work, column, s) for s in seeds}
        for size, way in next(iter(by_seed.values())):
            own, other = ({s: by_seed[s][size, each] for s in seeds} for each in (way, "domain"))
            gain = compare(other, own)
            cells = f"{gain.difference:+.4f} ({gain.interval})" if way != "domain" else ""
            rows.append([column, f"{size:,}", way, str(spread(list(own.values()))), cells])
    heads = ["left out", "rows", "trained", "test AUC", "difference to `domain`"]
    print("\n" + pd.DataFrame(rows, columns=heads).to_csv(sep="|", index=False))


if __name__ == "__main__":
    main()
