"""Thirty days of generated rows: continued training against training anew, and against nothing.

    python tests/benchmarks/days.py --work DIR [--days 30] [--rows 8000] [--seeds 1,2,3]

Tastes drift and new users and items come every day (`Days`).  The model of yesterday scores a day's
rows before anything is trained on them (prequential AUC).  Three strategies begin as one model of
the rows of five days: `never` keeps it, `continued` trains on each day alone (--init_from), `anew`
trains a new model on all rows so far.  Synthetic: the figures say nothing of real data.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

SCRIPT = Path(__file__).parents[2] / "examples" / "run_own_table.py"
FLAGS = ["--label", "click", "--domain", "country", "--sparse", "user,item", "--split", "random"]
FLAGS += ["--model_name", "mlp_adp", "--min_domain_rows", "0", "--quiet", "--resume"]
NEW = ["--epochs", "12", "--patience", "2", "--batch_size", "512"]
FURTHER = ["--epochs", "1"]
STRATEGIES = ("never", "continued", "anew")
FIRST_DAYS = 5


class Days:
    """Clicks of users on items in three countries.

    score = u . v_t / 2 + u . w_d + b;  v_t+1 = sqrt(1 - drift^2) v_t + drift e,  click if a uniform
    number is below sigmoid(score).  A day has `rows` rows; each day 1 % new users and 3 % new items
    come, and nine tenths of the rows are of the newest 2,000 items.
    """

    def __init__(self, seed, rows, drift=0.3, width=6):
        self.random, self.rows, self.drift = np.random.default_rng(seed), rows, drift
        self.users, self.items = self.draw(4_000, width), self.draw(1_000, width)
        self.bias, self.countries = self.draw(1_000, 1)[:, 0], self.draw(3, width)

    def draw(self, *shape):
        return self.random.normal(size=shape)

    def next(self):
        """The rows of one more day."""
        random, width = self.random, self.users.shape[1]
        self.users = np.concatenate((self.users, self.draw(len(self.users) // 100, width)))
        new = len(self.items) * 3 // 100
        keep = np.sqrt(1 - self.drift**2)
        self.items = keep * self.items + self.drift * self.draw(*self.items.shape)
        self.items = np.concatenate((self.items, self.draw(new, width)))
        self.bias = np.concatenate((self.bias, self.draw(new, 1)[:, 0]))
        user = random.integers(0, len(self.users), self.rows)
        first = np.where(random.random(self.rows) < 0.9, max(0, len(self.items) - 2_000), 0)
        item = random.integers(first, len(self.items))
        country = user % 3
        score = (self.users[user] * (self.items[item] / 2 + self.countries[country] / 2)).sum(1)
        score += self.bias[item] - 0.5
        click = random.random(self.rows) < 1 / (1 + np.exp(-score))
        names = np.array(["DE", "FR", "IT"])[country]
        return pd.DataFrame(
            {
                "user": [f"u{each}" for each in user],
                "item": [f"i{each}" for each in item],
                "country": names,
                "click": click.astype(int),
            }
        )


def train(table, folder, *flags):
    """A run on the rows of a file; returns the seconds of its training."""
    command = [sys.executable, SCRIPT, "--table", table, "--save_dir", folder, *flags]
    subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)
    return json.loads((folder / "metrics.json").read_text())["train"]["seconds"]


def simulate(work, seed, days, rows):
    """{strategy: (AUC of each day, seconds of each day's training)}"""
    import hamur

    source, found = Days(seed, rows), {name: ([], []) for name in STRATEGIES}
    past = [source.next() for _ in range(FIRST_DAYS)]
    folder = work / str(seed)
    folder.mkdir(parents=True, exist_ok=True)

    def written(frame, name):
        frame.to_csv(path := folder / f"{name}.csv", index=False)
        return path

    train(written(pd.concat(past), "first"), folder / "first", *FLAGS, *NEW, "--seed", seed)
    current = dict.fromkeys(STRATEGIES, folder / "first")
    for day in range(1, days + 1):
        today = source.next()
        for name, run in current.items():
            scores = hamur.load(run).predict(today)
            found[name][0].append(roc_auc_score(today["click"], scores))
        past.append(today)
        for name, frame in (("continued", today), ("anew", pd.concat(past))):
            place = folder / f"{name}-{day}"
            flags = [*FLAGS, *NEW, "--seed", seed]
            if name == "continued":
                flags = ["--init_from", current[name], *FURTHER, "--quiet", "--resume"]
            found[name][1].append(train(written(frame, place.name), place, *flags))
            current[name] = place
        line = "  ".join(f"{name} {aucs[-1]:.4f}" for name, (aucs, _) in found.items())
        print(f"seed {seed} day {day}: {line}", flush=True)
    return found


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="where runs and tables are kept")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rows", type=int, default=8_000, help="of a day")
    parser.add_argument("--seeds", default="1,2,3")
    options = parser.parse_args(argv)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    runs = [simulate(options.work, seed, options.days, options.rows) for seed in seeds]
    thirds = np.array_split(np.arange(options.days), 3)
    heads = [f"days {each[0] + 1} to {each[-1] + 1}" for each in thirds]
    print("\n| strategy | " + " | ".join(heads) + " | all days | seconds of training |")
    print("|---" * (3 + len(heads)) + "|")
    for name in STRATEGIES:
        aucs = np.array([run[name][0] for run in runs])  # (seeds, days)
        cells = [f"{aucs[:, each].mean():.4f}" for each in thirds]
        spread = f"{aucs.mean():.4f} ± {aucs.mean(1).std(ddof=1):.4f}" if len(runs) > 1 else "-"
        seconds = np.mean([sum(run[name][1]) for run in runs])
        print(f"| `{name}` | " + " | ".join(cells) + f" | {spread} | {seconds:,.0f} |")


if __name__ == "__main__":
    main()
