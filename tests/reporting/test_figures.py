"""The scripts of examples/figures."""

import runpy
from pathlib import Path

import numpy as np
import pytest

FIGURES = Path(__file__).parents[2] / "examples" / "figures"


@pytest.mark.parametrize(("shared", "own"), [(1.0, 0.0), (1.0, 3.0), (0.0, 1.0)])
def test_own_share_finds_what_was_planted(shared, own):
    own_share = runpy.run_path(str(FIGURES / "own_share.py"))["own_share"]
    rng = np.random.default_rng(0)
    items, domains, rows = 3000, 3, 60_000
    unit, domain = rng.integers(0, items, rows), rng.integers(0, domains, rows)
    taste = rng.normal(0, shared**0.5, (items, 1)) + rng.normal(0, own**0.5, (items, domains))
    label = taste[unit, domain] + rng.normal(0, 1, rows) + 5.0 * domain
    assert own_share(unit, domain, label) == pytest.approx(own / (shared + own), abs=0.05)


def test_own_share_of_units_in_one_domain_each_does_not_exist():
    own_share = runpy.run_path(str(FIGURES / "own_share.py"))["own_share"]
    unit = np.repeat([0, 1], 4)
    assert np.isnan(own_share(unit, unit, np.arange(8.0)))


def test_gains_are_drawn_from_the_tables_of_results(tmp_path):
    gains = runpy.run_path(str(FIGURES / "gains.py"))
    text = (FIGURES.parent / "RESULTS.md").read_text()
    (sets,) = gains["tables_of"](text, "own share")
    named = [rows[0][0] for rows in gains["tables_of"](text, "test rows")]
    assert len(sets) >= 7 and {"age", "gender", "occupation", "first genre", "Douban"} <= {*named}
    gains["draw"](text, tmp_path / "gains.png")
    assert (tmp_path / "gains.png").stat().st_size > 20_000
