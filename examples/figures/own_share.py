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

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # also runs without installation

from hamur.commands.own_table import RankingTable, load_own, table_flag
from hamur.commands.script import command, from_flags
from hamur.config import REQUIRED


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


@dataclass(frozen=True)
class Shares(RankingTable):
    """Of a table with domains, and the column of its items or users."""

    unit: str | None = table_flag(
        None, "the column of the items, or of the users", default_text=REQUIRED
    )


def report(config: Shares) -> None:
    """Print the share.  Raises:  DataError; ValueError: an option, no such column."""
    splits, schema = load_own(config, config.dataset_path)
    if config.unit not in schema.sparse_names:
        names = ", ".join(schema.sparse_names)
        raise ValueError(f"--unit {config.unit} is no column of values; such are {names}.")
    unit, domain, label = (
        np.concatenate([getattr(each, name) for each in splits])
        for name in ("sparse", "domain", "labels")
    )
    unit = unit[:, schema.sparse_names.index(config.unit)]
    known = unit > 0  # a value of training rows
    share = own_share(unit[known], domain[known], label[known, 0])
    print(f"own share of the domains between values of {config.unit}: {share:.3f}")


if __name__ == "__main__":
    config = from_flags(Shares, description=__doc__)
    sys.exit(command(__file__, config, partial(report, config)))
