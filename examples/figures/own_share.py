"""The "own share" of examples/RESULTS.md: how much the domains of a table differ.

    python examples/figures/own_share.py --unit movie_id --table path/to/ml-1m/ratings.dat \\
        --columns ml-1m --join users.dat:user_id --domain occupation

The other flags are those of run_own_table.py.

Of the variance between units (items, or users), the part that belongs to one domain alone: with y a
label less the mean of its domain, and means over pairs of different rows of a unit,

    1 - (sum over units of n mean of y y' across domains) / (sum of n mean of y y' within them)

where n are the rows of the unit, and units without a pair of either kind are left out.

0: a unit is the same in all domains; 1: what one domain knows of it says nothing about another.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also runs without installation


def own_share(unit: np.ndarray, domain: np.ndarray, label: np.ndarray) -> float:
    """The share, of ids (N,), domains (N,) from 0, and labels (N,); NaN where no unit
    has both kinds of pairs."""
    y = np.asarray(label, np.float64)
    y = y - (np.bincount(domain, y) / np.maximum(np.bincount(domain), 1))[domain]
    shape = unit.max() + 1, domain.max() + 1
    cell = np.ravel_multi_index((unit, domain), shape)
    total, rows, squares = (
        np.bincount(cell, weights, np.prod(shape)).reshape(shape) for weights in (y, None, y * y)
    )
    same, pairs = (total**2 - squares).sum(1), (rows * (rows - 1)).sum(1)
    other = total.sum(1) ** 2 - (total**2).sum(1)
    others = rows.sum(1) ** 2 - (rows**2).sum(1)
    told = (pairs > 0) & (others > 0)
    weight = rows.sum(1)[told]
    across, within = (weight @ (a[told] / b[told]) for a, b in ((other, others), (same, pairs)))
    return float(1 - across / within) if told.any() else np.nan


def main(argv: list[str] | None = None) -> None:
    from hamur.commands.own_table import RankingTable, load_own
    from hamur.commands.script import from_flags

    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--unit", required=True)
    own, rest = parser.parse_known_args(argv)
    config = from_flags(RankingTable, rest, __doc__)
    splits, schema = load_own(config, config.dataset_path)
    column = schema.sparse_names.index(own.unit)
    unit, domain, label = (
        np.concatenate([getattr(each, name) for each in splits])
        for name in ("sparse", "domain", "labels")
    )
    known = unit[:, column] > 0  # a value of training rows
    print(f"own share of the domains between values of {own.unit}: ", end="")
    print(f"{own_share(unit[known, column], domain[known], label[known, 0]):.3f}")


if __name__ == "__main__":
    main()
