"""Generated processed Ali-CCP files: the 33 columns of the public preparation."""

from pathlib import Path

import numpy as np

from hamur.data.ali_ccp.columns import CSV_COLUMNS, DENSE_COLUMNS
from hamur.data.synthetic.ali_world import ALL_ROWS, PRESENT
from hamur.data.synthetic.draws import cardinality, zipf
from hamur.data.synthetic.planted import Field, Truth, meet_rates, plant, truth_of


def make_ali_ccp(
    out: str | Path,
    rows: int,
    seed: int,
    shares: tuple[float, ...] = (0.36, 0.08, 0.56),
    rates: tuple[float, ...] = (0.22, 0.30, 0.18),
    conversion: float = 0.15,
    parts: tuple[float, ...] = (0.6, 0.2, 0.2),
    signal: float = 1.2,
    domain_shift: float = 1.1,
) -> dict[str, Truth]:
    """Writes ali_ccp_{train,val,test}_sample.csv with `rows` impressions altogether.

    shares, rates: of the rows and of clicks in each domain; conversion: purchases per click.  The
    defaults are far above those of the real data (0.3779 0.0075 0.6147 and about 0.04), so that
    a few thousand rows hold every domain and class.
    Returns the truth of each file's rows: {"train": ..., "val": ..., "test": ...}.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    ids = {
        name: np.where(
            rng.random(rows) < present,
            1 + zipf(rng, cardinality(real, rows, ALL_ROWS), rows),
            0,
        )
        for name, (real, present) in PRESENT.items()
    }
    dense = _counts(rng, ids)
    domain = np.searchsorted(np.cumsum(shares)[:-1], rng.random(rows), side="right")
    side = {"121": "user", "122": "user", "125": "user", "206": "item", "205": "item"}
    weight = {"101": 0.2, "205": 0.2, "121": 0.8, "125": 0.8, "206": 0.8}
    fields = {
        name: Field(column, weight.get(name, 0.4), side.get(name, ""), name in ("121", "125"))
        for name, column in ids.items()
        if name in weight or PRESENT[name][0] <= 100
    }
    logits = plant(rng, fields, dense, len(shares), signal, domain_shift)
    by_domain = meet_rates(logits, domain, rates)
    probability = np.take_along_axis(by_domain, domain[:, None], axis=1)[:, 0]
    click = (rng.random(rows) < probability).astype(np.int8)
    purchase = click * (rng.random(rows) < conversion)
    truth = truth_of(by_domain, click, domain)
    cuts = np.round(np.cumsum(parts) / sum(parts) * rows).astype(int)[:-1]
    ids = {name: _first_appearance(column, cuts[0]) for name, column in ids.items()}
    values = {"click": click, "purchase": purchase, **ids, "301": domain + 1}
    values |= {name: dense[:, c] for c, name in enumerate(DENSE_COLUMNS)}
    files, rows_of = {}, np.split(np.arange(rows), cuts)
    for part, chosen in zip(("train", "val", "test"), rows_of):
        _write_csv(Path(out) / f"ali_ccp_{part}_sample.csv", values, chosen)
        files[part] = truth.take(chosen)
    return files


def _counts(rng: np.random.Generator, ids: dict[str, np.ndarray]) -> np.ndarray:
    """(N, 8) ln(1 + count) scaled by its maximum to [0, 1]; 0 where the id is missing."""
    columns = []
    for name in DENSE_COLUMNS:
        present = ids[name.removeprefix("D")] > 0
        counts = np.floor(1.0 / (1.0 - rng.random(len(present))) ** 1.2)
        value = np.log1p(np.minimum(counts, 200)) * present
        columns.append(np.round(value / value.max(), 5))
    return np.stack(columns, axis=1)


def _first_appearance(ids: np.ndarray, train_rows: int) -> np.ndarray:
    """Codes by first appearance in the training rows, 0 for ids that do not occur there."""
    known, first = np.unique(ids[:train_rows], return_index=True)
    known, first = known[known > 0], first[known > 0]
    codes = np.zeros(ids.max() + 1, int)
    codes[known[np.argsort(first)]] = np.arange(1, len(known) + 1)
    return codes[ids]


def _write_csv(path: Path, values: dict[str, np.ndarray], rows: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [values[name][rows].tolist() for name in CSV_COLUMNS]
    lines = [",".join(CSV_COLUMNS)]
    lines += [",".join(map(str, row)) for row in zip(*columns)]
    path.write_bytes("".join(line + "\n" for line in lines).encode())
