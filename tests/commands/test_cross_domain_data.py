"""The pair that the flags name: any two tables, MovieLens-1M cut in two, and what makes no pair."""

import dataclasses
import gzip
import json
from collections import Counter

import numpy as np
import pytest

from hamur.commands.cross_domain import main
from hamur.commands.cross_domain_config import CrossDomainConfig
from hamur.commands.cross_domain_data import load
from hamur.data.amazon.load import SAMPLE
from hamur.training.trainer import Trainer
from tests.support.amazon_raw import lines_of, reviews, with_field, write_lines
from tests.support.commands import assert_refused
from tests.support.lines import set_line

TABLES = dict(source_table="s.csv", target_table="t.csv", sep=";")
TABLE_FLAGS = [part for name, value in TABLES.items() for part in (f"--{name}", value)]
COLUMNS = "user=who,item=what,rating=stars,timestamp=when,category=kind"


def write_table(path, users, prefix, items=5):
    """Six rows a user: ratings 3 and 4 in turn, times in milliseconds."""
    lines = ["who;what;stars;when;kind"]
    for number, user in enumerate(users):
        for row in range(6):
            when = 1_300_000_000_000 + 86_400_000 * (7 * row + number)
            item = f"{prefix}{(row + number) % items}"
            lines.append(f"{user};{item};{3 + row % 2};{when};k{row % 2}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "s.csv", "abcdef", "book")
    write_table(tmp_path / "t.csv", "abcdef", "toy")
    write_table(tmp_path / "other.csv", "uvwxyz", "book")


def test_any_two_tables_are_a_pair(tables):
    config = CrossDomainConfig(**TABLES, columns=COLUMNS, time_unit="ms", positive_above=3.5)
    pair, harmful = load(config.resolved())
    assert pair.num_users == 6 and [len(part) for part in pair.target] == [24, 6, 6]
    assert pair.target_schema.domain_names == ("s", "t") and harmful is None
    np.testing.assert_array_equal(pair.target.train.labels[:4, 0], [0, 1, 0, 1])
    everything, _ = load(dataclasses.replace(config, positive_above=2.0).resolved())
    assert everything.target.train.labels.all()


IMPLICIT = "user=who,item=what,rating=none,timestamp=when,category=kind"


@pytest.fixture
def wide_tables(tables, tmp_path):
    """With items that a user does not have."""
    write_table(tmp_path / "s.csv", "abcdef", "book", 9)
    write_table(tmp_path / "t.csv", "abcdef", "toy", 9)


def test_tables_without_ratings_get_negatives_in_every_part(wide_tables):
    given = dict(**TABLES, columns=IMPLICIT, time_unit="ms", train_negatives=2)
    pair, _ = load(CrossDomainConfig(**given).resolved())
    for part, rows in zip((pair.source, *pair.target), (36, 24, 6, 6)):
        labels = part.labels[:, 0]
        assert labels.sum() == rows and 0 < (labels == 0).sum() <= 2 * rows


@pytest.mark.slow
def test_a_run_on_tables_without_ratings_ends_with_both_protocols(wide_tables, tmp_path):
    given = [*TABLE_FLAGS, "--columns", IMPLICIT, "--time_unit", "ms", "--train_negatives", "2"]
    small = "--epochs 1 --interval 3 --meta_batchsize 4 --t_batchsize 8 --embed_dim 4 --quiet"
    protocols = "--eval_draws 2 --rank_negatives 1000"
    assert main("x.py", "", [*given, *small.split(), *protocols.split()]) == 0
    metrics = json.loads((tmp_path / "runs/x/conet_biao-8/metrics.json").read_text())
    assert metrics["test"]["positives"] == 6 < metrics["test"]["rows"]
    assert metrics["test"]["auc"] is not None and metrics["upper"]["count"] > 0
    assert metrics["ranking"]["users"] == 6 and metrics["ranking"]["negatives"] == 8


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--time_unit", "s"], ["s.csv:2", "milliseconds", "--time_unit ms, or leave it out"]),
        (["--time_unit", "ns"], ["s.csv:2", "milliseconds", "--time_unit ms, or leave it out"]),
        (["--time_unit", "ms", "--rating_max", "3"], ["s.csv:3", "rating_max", "4"]),
        (["--time_unit", "ms", "--target_table", "s.csv"], ["the same file for both domains"]),
        (["--sep", ","], ["s.csv:1", "separated by ';'", "what separates them with --sep"]),
        (["--time_unit", "ms", "--train_negatives", "1"], ["no user lacks an item", "t"]),
        (["--time_unit", "ms", "--source_table", "other.csv"], ["0 users in both files"]),
        (
            ["--time_unit", "ms", "--positive_above", "4"],
            ["one class: all 24 training rows of t are negative ones", "column 'rating'", "3 to 4"]
            + ["give a --positive_above from 3 to below 4"],
        ),
        (["--time_unit", "ms", "--positive_above", "1"], ["positive ones", "from 3 to below 4"]),
    ],
)
def test_tables_that_make_no_pair_are_told(flags, words, tables, capsys):
    assert_refused(capsys, words, main, "x.py", "", [*TABLE_FLAGS, "--columns", COLUMNS, *flags])


def test_movielens_is_cut_into_a_pair_by_genre():
    pair, _ = load(CrossDomainConfig(genres="Drama,Comedy").resolved())
    assert pair.source_schema.domain_names == ("Drama", "Comedy")
    assert pair.num_users > 0 and len(pair.source)


# ---- raw Amazon files that cannot be used


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """A copy of the bundled sample, not compressed."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "raw"
    folder.mkdir()
    for path in SAMPLE.glob("*.gz"):
        (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    return folder


def change_review(folder):
    set_line(reviews(folder), 7, with_field(overall=6.0))


def three_rows_of_each_user(folder):
    kept, counts = [], Counter()
    for line in lines_of(reviews(folder)):
        user = json.loads(line)["reviewerID"]
        counts[user] += 1
        if counts[user] <= 3:
            kept.append(line)
    write_lines(reviews(folder), kept)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_review, ["reviews_SynToys_5.json:7", "'overall'", "got 6.0"]),
        (three_rows_of_each_user, ["dev_mode holdout", "--dev_mode reuse"]),
    ],
)
def test_raw_files_that_cannot_be_used_are_told_before_training(
    change, words, raw, tmp_path, monkeypatch, capsys
):
    change(raw)
    monkeypatch.setattr(Trainer, "fit", lambda *arguments: pytest.fail("it trains"))
    assert_refused(capsys, words, main, "x.py", "", ["--dataset_path", str(raw), "--quiet"])
    assert not list(tmp_path.rglob("metrics.json"))


def test_movielens_without_genres_names_the_flag(tmp_path, capsys):
    for name in ("ratings.csv", "movies.csv"):
        (tmp_path / name).touch()
    words = [str(tmp_path), "holds MovieLens", "--genres Drama,Comedy"]
    assert_refused(capsys, words, main, "x.py", "", ["--dataset_path", str(tmp_path), "--quiet"])
    (tmp_path / "ratings.csv").unlink()
    words = ["not one pair of categories", "jmcauley"]
    assert_refused(capsys, words, main, "x.py", "", ["--dataset_path", str(tmp_path), "--quiet"])


def test_bad_lines_may_be_left_out_and_counted(raw):
    change_review(raw)
    pair, _ = load(CrossDomainConfig(dataset_path=str(raw), on_bad_rows="skip").resolved())
    counts = pair.target_schema.split["domains"]["SynToys"]["files"][reviews(raw).name]
    assert sum(counts["dropped"].values()) == 1
    assert counts["rows_read"] == counts["rows_kept"] + 1 == len(lines_of(reviews(raw)))
