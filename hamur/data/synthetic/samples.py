"""The generators by data set and file format, and the samples under data/."""

import re
from functools import partial
from pathlib import Path

from hamur.data.aliexpress.files import COUNTRIES
from hamur.data.synthetic import aliexpress, amazon
from hamur.data.synthetic.ali_ccp import make_ali_ccp, make_ali_ccp_raw
from hamur.data.synthetic.movielens import make_movielens
from hamur.data.synthetic.signals import write_truth

SEED = 2022


def write_samples(out: str | Path) -> None:
    """The sample folders of this repository, below `out`; a test compares them byte by byte."""
    out = Path(out)
    make_movielens(out / "ml-1m-sample", rows=8_000, seed=SEED)
    make_ali_ccp(out / "ali-ccp-sample", rows=6_000, seed=SEED)
    make_ali_ccp_raw(
        out / "ali-ccp-raw-sample",
        rows=1_000,
        test_rows=500,
        seed=SEED,
        rows_per_common=8,
        min_domain_rows=40,
        min_positives=2,
        truth=False,
    )
    # Far more clicks and purchases than the real data have, since a thousand rows would hold none.
    sizes = dict(rows=1_000, test_rows=400, rates=(0.2, 0.05), signal=1.8, seed=SEED)
    for folder, country, form in (
        ("", "NL", "processed"),
        ("", "US", "processed"),
        ("raw", "NL", "raw"),
    ):
        aliexpress.make_aliexpress(
            out / "aliexpress-sample" / folder, country=country, form=form, **sizes
        )
    # 240 users of both categories and 144 of one only.
    sizes = dict(users=240, extra_users=0.3, items=(240, 160))
    amazon.make_amazon_pair(out / "amazon-sample", seed=SEED, truth=False, **sizes)


def _with_truth(make, out: Path, rows: int, seed: int, **options) -> dict:
    """Writes the files and, beside `out`, their ground truth; returns the content of truth.json."""
    truth = make(out, rows, seed, **options)
    truths = truth if isinstance(truth, dict) else {"ratings": truth}
    return write_truth(out, {"rows": rows, "seed": seed} | options, truths)


def _aliexpress(
    out: Path, rows: int, seed: int, form: str = "raw", countries: str = "NL", **options
) -> dict:
    """`rows` training rows of each of these countries ("NL,ES"); the ground truth beside `out`.

    Returns the content of truth.json.
    """
    truth, names = {}, countries.split(",")
    if len(set(names) & set(COUNTRIES)) < len(names):
        known = ",".join(COUNTRIES)
        raise ValueError(f"`countries` is {countries!r}; use some of {known}, none twice")
    for country in names:
        parts = aliexpress.make_aliexpress(out, rows, seed, country, form=form, **options)
        for part, labels in parts.items():
            truth |= {f"{country}_{part}_{label}": of_label for label, of_label in labels.items()}
    settings = {"rows": rows, "seed": seed, "countries": countries} | options
    return write_truth(out, settings, truth)


def _amazon(
    out: Path,
    rows: int,
    seed: int,
    users: int | None = None,
    pair: str = "SynBooks,SynToys",
    **options,
) -> dict:
    """A pair with about `rows` source reviews, of 20 per user, or of so many users.

    More than 2,000 users have more items, by the power 0.6, fewer have fewer, in proportion, so
    that a 5-core remains.  Returns `GroundTruth.report` by category.
    """
    users = max(20, rows // 20) if users is None else users
    growth = (users / 2_000) ** (0.6 if users > 2_000 else 1.0)
    items = tuple(max(least, round(growth * n)) for n, least in ((600, 30), (400, 20)))
    names = tuple(pair.split(","))
    if len(set(names)) != 2 or len(names) != 2 or not all(map(_NAME.fullmatch, names)):
        raise ValueError(f"`pair` is {pair!r}; use two different names, as SynBooks,SynToys.")
    truths = amazon.make_amazon_pair(out, users, seed, pair=names, items=items, **options)
    return {name: truth.report() for name, truth in truths.items()}


_NAME = re.compile(r"\w+")  # of a category, in a file's name
# data set -> format -> (out, rows, seed, **options) -> content of truth.json
GENERATORS = {
    "ml-1m": {"raw": partial(_with_truth, make_movielens)},
    "ali-ccp": {"raw": make_ali_ccp_raw, "processed": partial(_with_truth, make_ali_ccp)},
    "aliexpress": {form: partial(_aliexpress, form=form) for form in ("raw", "processed")},
    "amazon": {"raw": _amazon},
}


def generate(
    dataset: str, form: str, out: str | Path, rows: int, seed: int, options: dict
) -> dict[str, dict]:
    """Writes the files and returns the best AUCs of each part.

    Raises:  ValueError: a format or an option that this generator does not have.
    """
    forms = GENERATORS[dataset]
    if form not in forms:
        raise ValueError(f"`form={form!r}` does not apply to {dataset}; it has {', '.join(forms)}.")
    try:
        report = forms[form](Path(out), rows, seed, **options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        name = str(error).split("'")[1]
        raise ValueError(f"`{name}` does not apply to {dataset}, format {form}.") from None
    return {part: figures for part, figures in report.items() if part != "options"}
