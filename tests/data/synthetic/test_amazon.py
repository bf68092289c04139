"""Generated Amazon pairs: the 5-core, known harmful rows, the AUC that ratings allow."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hamur.data import load_amazon_pair, synthetic
from hamur.data.synthetic import signals
from hamur.data.synthetic.amazon import make_amazon_pair
from tests.support.amazon_raw import NAMES, lines_of, meta, reviews
from tests.support.pair_reference import read_reviews


def test_generated_files_obey_the_five_core_and_the_formats(amazon_generated):
    folder = amazon_generated[0]
    for name in NAMES:
        rows = read_reviews(reviews(folder, name))
        for column in (0, 1):
            counts = np.unique([row[column] for row in rows], return_counts=True)[1]
            assert counts.min() >= 5
        assert len({row[:2] for row in rows}) == len(rows)
        assert all(row[3] % 86_400 == 0 for row in rows)
        assert reviews(folder, name).read_text().isascii()
        lines = lines_of(meta(folder, name))
        with pytest.raises(ValueError):
            json.loads(lines[0])
        assert any('"' in line for line in lines) and not all("'title'" in line for line in lines)
    shared, *only = ({row[0] for row in read_reviews(reviews(folder, n))} for n in NAMES)
    assert len(shared & only[0]) > 100 and shared - only[0] and only[0] - shared


def test_harmful_rows_are_known_by_their_place_in_the_file(amazon_generated):
    folder = amazon_generated[0]
    pair = load_amazon_pair(folder)
    with np.load(folder.with_name("raw.truth.npz")) as truth:
        rows = pair.source.row_id
        assert (truth["SynBooks_label"][rows] == pair.source.labels[:, 0]).all()
        harmful = truth["harmful_SynBooks"][rows]
        assert not truth["harmful_SynToys"].any()
    names = pair.names["source_category"][pair.source.sparse[:, 2]]
    bad, good = set(names[harmful]) - {""}, set(names[~harmful]) - {""}
    assert len(bad) == 8 and not bad & good  # by category, an item without meta data aside


@pytest.mark.parametrize("plant", ["independent", "random", "invert", "none"])
def test_drawn_ratings_have_the_auc_that_is_expected(tmp_path, plant):
    sizes = dict(items=(150, 100), truth=False, compressed=False)
    truths = make_amazon_pair(tmp_path / "raw", 500, seed=3, plant=plant, **sizes)
    for name, truth in truths.items():
        auc, positives = roc_auc_score(truth.labels, truth.probability), truth.labels.sum()
        rows = min(positives, len(truth.labels) - positives)
        assert abs(auc - signals.expected_auc(truth.probability)) < 3 * 0.3 / np.sqrt(rows), name
    if plant == "none":
        ratings = np.array([row[2] for row in read_reviews(reviews(tmp_path / "raw"))], int)
        shares = np.bincount(ratings, minlength=6)[1:] / len(ratings)
        wanted = np.array([217, 250, 772, 2_084, 6_938]) / 10_261
        assert np.abs(shares - wanted).max() < 0.015


@pytest.mark.parametrize("rows", [2_000, 4_000, 20_000])
def test_few_rows_have_a_core_in_both_categories(tmp_path, rows):
    report = synthetic.generate("amazon", "raw", tmp_path / "raw", rows, 1, {})
    assert all(figures["rows"] > 40 for figures in report.values())
    assert load_amazon_pair(tmp_path / "raw").num_users > 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(plant="evil"), "use one of"),
        (dict(harmful_categories=13), "harmful_categories"),
        (
            dict(users=20, seed=1, items=(30, 400)),
            "no row of SynToys is left in the 5-core of 20 users",
        ),
    ],
)
def test_what_cannot_be_generated_is_refused(tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        make_amazon_pair(tmp_path / "raw", **options)


def test_a_truth_is_the_last_file_and_appears_whole(tmp_path, monkeypatch):
    """A study that is started again generates its pair where the truth is missing."""

    def killed(file, **columns):
        file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", killed)
    with pytest.raises(KeyboardInterrupt):
        make_amazon_pair(tmp_path / "pair", 300)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pair", "pair.truth.json"]
