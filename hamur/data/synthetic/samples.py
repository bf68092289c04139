"""Generated files in the formats of the real data sets; no row of them is real.

    make_movielens     ratings.dat users.dat movies.dat
    make_ali_ccp       ali_ccp_{train,val,test}_sample.csv, processed
    make_ali_ccp_raw   sample_skeleton_{train,test}.csv, common_features_{train,test}.csv
    make_aliexpress, make_amazon_pair    in `aliexpress` and `amazon`
    write_samples      the folders under data/, which a test makes again and compares byte by byte

Same arguments, same bytes.  The labels follow a planted signal (`planted`), so the best possible
AUC is known; `generate` writes it beside the files.
"""

from functools import partial
from pathlib import Path

from hamur.data.synthetic import aliexpress as synthetic_aliexpress
from hamur.data.synthetic import amazon as synthetic_amazon
from hamur.data.synthetic.ali_csv import make_ali_ccp
from hamur.data.synthetic.ali_raw import make_ali_ccp_raw
from hamur.data.synthetic.aliexpress import make_aliexpress_sample
from hamur.data.synthetic.amazon import make_amazon_sample
from hamur.data.synthetic.movielens import make_movielens
from hamur.data.synthetic.planted import Truth, write_truth

SEED = 2022


def write_samples(out: str | Path) -> None:
    """The sample folders of this repository, below `out`."""
    make_movielens(Path(out) / "ml-1m-sample", rows=8_000, seed=SEED)
    make_ali_ccp(Path(out) / "ali-ccp-sample", rows=6_000, seed=SEED)
    make_ali_ccp_raw(
        Path(out) / "ali-ccp-raw-sample",
        rows=1_000,
        test_rows=500,
        seed=SEED,
        rows_per_common=8,
        min_domain_rows=40,
        min_positives=2,
        truth=False,
    )
    make_aliexpress_sample(Path(out) / "aliexpress-sample", seed=SEED)
    make_amazon_sample(Path(out) / "amazon-sample", seed=SEED)


def _movielens(out: Path, rows: int, seed: int, **options) -> dict:
    truth = make_movielens(out, rows, seed, **options)
    return write_truth(out, {"rows": rows, "seed": seed} | options, {"ratings": truth})


def _ali_ccp(out: Path, rows: int, seed: int, **options) -> dict:
    truth = make_ali_ccp(out, rows, seed, **options)
    return write_truth(out, {"rows": rows, "seed": seed} | options, truth)


# data set -> format -> (out, rows, seed, **options) -> content of truth.json
GENERATORS = {
    "ml-1m": {"raw": _movielens},
    "ali-ccp": {"raw": make_ali_ccp_raw, "processed": _ali_ccp},
    "aliexpress": {
        form: partial(synthetic_aliexpress.generate, form=form) for form in ("raw", "processed")
    },
    "amazon": {"raw": synthetic_amazon.generate},
}


def generate(
    dataset: str, form: str, out: str | Path, rows: int, seed: int, options: dict
) -> dict[str, dict]:
    """Writes the files and returns the figures of each part's truth.

    Raises:  ValueError: a format or an option that this generator does not have.
    """
    forms = GENERATORS[dataset]
    if form not in forms:
        raise ValueError(f"--format {form} does not apply to {dataset}; it has {', '.join(forms)}.")
    try:
        report = forms[form](Path(out), rows, seed, **options)
    except TypeError as error:
        raise ValueError(f"--dataset {dataset} --format {form}: {error}") from None
    return {part: figures for part, figures in report.items() if part != "options"}


__all__ = [
    "GENERATORS",
    "Truth",
    "generate",
    "make_ali_ccp",
    "make_ali_ccp_raw",
    "make_movielens",
    "write_samples",
]
