"""--init_from: a run goes on with what an earlier one learned, on another table."""

import csv
import json
import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import hamur
from hamur import models, training
from hamur.commands import own_table
from hamur.commands.continuing import begin, earlier_schema
from hamur.commands.ranking import load_splits
from hamur.commands.script import from_flags
from hamur.data import load_table
from hamur.training.checkpoint import load_state
from tests.data.test_continued import LABELS, later
from tests.data.test_own_table import impressions
from tests.support.commands import assert_refused, exit_code

pytestmark = pytest.mark.filterwarnings("ignore::hamur.errors.SingleClassWarning")
SCRIPT = "run_own_table.py", "a script"
FIRST = ["--label", "click", "--domain", "scene", "--ignore", "purchase", "--multi", "tags"]
FIRST += ["--time", "day", "--min_domain_rows", "20", "--model_name", "mlp_adp"]
FIRST += ["--preset", "paper", "--batch_size", "64"]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The folder of a run on the first table, beside the files of both."""
    here = tmp_path_factory.mktemp("continuing")
    frame = impressions().drop(columns="")
    frame.to_csv(here / "day1.csv", index=False)
    later(impressions(seed=8)).drop(columns="").to_csv(here / "day2.csv", index=False)
    flags = ["--table", str(here / "day1.csv"), "--save_dir", str(here / "run1"), *FIRST]
    assert exit_code(own_table.main, *SCRIPT, [*flags, "--epochs", "1", "--quiet"]) == 0
    return here / "run1"


def test_a_domain_is_added_and_the_others_keep_their_scores(first, capsys):
    beside = first.parent
    flags = ["--table", str(beside / "day2.csv"), "--init_from", str(first), "--epochs", "2"]
    flags += ["--add_domain", "pos", "--train_only", "domain", "--save_dir", str(beside / "run2")]
    assert exit_code(own_table.main, *SCRIPT, flags) == 0
    told = capsys.readouterr().out
    assert "\npos " in told
    (line,) = re.findall(r"before training, all 600 rows: auc (\S+)  logloss (\S+)", told)
    with (beside / "run2/history.csv").open(newline="") as file:
        row, *epochs = csv.DictReader(file)
    assert (row["kind"], len(epochs)) == ("prequential", 2)
    assert line == tuple(f"{float(row[f'prequential_{n}']):.4f}" for n in ("auc", "logloss"))
    steps = [load_state(beside / f"run{n}/last")[0]["optimizer"]["beta1_power"] for n in (1, 2)]
    assert 0 < steps[1] < steps[0] < 0.9  # the optimiser's steps are counted on
    options = SimpleNamespace(init_from=str(first), like=None, fresh_ids=False)
    about = dict(earlier=earlier_schema(first), add_domain=["pos"])
    splits, schema = load_table(beside / "day2.csv", **about)
    model = models.RANKING["mlp_adp"](schema, preset="paper")
    begin(model, options)
    untrained = np.concatenate([training.predict(model, table) for table in splits])
    labels = np.concatenate([table.labels[:, 0] for table in splits])
    assert float(row["prequential_auc"]) == pytest.approx(roc_auc_score(labels, untrained))
    had, has = (json.loads((beside / f"run{n}/config.json").read_text()) for n in (1, 2))
    taken = ("label", "domain", "model_name", "preset", "batch_size", "ignore", "time")
    assert [has["options"][n] for n in taken] == [had["options"][n] for n in taken]
    rows = pd.read_csv(beside / "day1.csv").drop(columns=LABELS)
    scores = [hamur.load(beside / f"run{n}").predict(rows) for n in (1, 2)]
    np.testing.assert_array_equal(*scores)
    new = pd.read_csv(beside / "day2.csv").drop(columns=LABELS)
    new = new[new["scene"] == "pos"]
    assert np.ptp(hamur.load(beside / "run2").predict(new)) > 0


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--add_domain", "home"], ["--add_domain home: the earlier run has this domain"]),
        (["--label", "purchase"], ["--label is that of", "without --init_from"]),
        (["--model_name", "mlp"], ["--model_name is that of", "leave it out"]),
        (["--train_only", "domain"], ["--train_only domain is of a run with --add_domain"]),
        (["--add_domain", "pos", "--like", "Mars"], ["--like Mars: known are home"]),
        (["--replay", "2"], ["--replay 2 is a share up to 1"]),
        (["--init_from", "nowhere"], ["nowhere/config.json: No such file"]),
    ],
    ids=lambda each: " ".join(each[:2]),
)
def test_wrong_usage_is_one_line(flags, words, first, tmp_path, capsys):
    known = ["--table", str(first.parent / "day2.csv"), "--init_from", str(first)]
    argv = [*known, "--save_dir", str(tmp_path), "--quiet", *flags]
    assert_refused(capsys, words, own_table.main, *SCRIPT, argv)


def test_flags_of_a_continuing_run_need_the_earlier_one(first, capsys):
    argv = ["--table", str(first.parent / "day2.csv"), "--add_domain", "pos", *FIRST]
    assert_refused(capsys, ["are of a run with --init_from"], own_table.main, *SCRIPT, argv)


def test_rows_of_the_earlier_run_are_replayed(first, tmp_path, capsys):
    beside = first.parent
    flags = ["--table", str(beside / "day2.csv"), "--init_from", str(first), "--epochs", "1"]
    flags += ["--add_domain", "pos", "--replay", "0.25", "--save_dir", str(tmp_path / "run")]
    config = from_flags(own_table.RankingTable, flags)
    splits, schema = load_splits(config, partial(own_table.load_own, config))
    assert f"120 training rows of {first} join" in capsys.readouterr().out
    splits.train.validate(schema)
    config = from_flags(own_table.RankingTable, [*flags, "--replay", "0"])
    new, _ = load_splits(config, partial(own_table.load_own, config))
    assert len(splits.train) == len(new.train) + 120
    for name in ("sparse", "dense", "labels"):
        both, alone = (getattr(table, name) for table in (splits.train, new.train))
        np.testing.assert_array_equal(both[: len(alone)], alone)
    old, _ = load_table(beside / "day1.csv", first / "columns.json")
    rows = {tuple(row) for row in np.column_stack((old.train.sparse, old.train.dense))}
    added = np.column_stack((splits.train.sparse, splits.train.dense))[len(new.train) :]
    assert {tuple(row) for row in added} <= rows
    lists = [part.multi_valued[0] for part in (splits.train, new.train)]
    assert [len(each) for each in lists] == [len(splits.train), len(new.train)]
    (beside / "day1.csv").rename(beside / "away.csv")
    assert_refused(capsys, ["day1.csv"], own_table.main, *SCRIPT, [*flags, "--quiet"])
    (beside / "away.csv").rename(beside / "day1.csv")


def test_feature_tables_are_found_where_they_were(tmp_path, capsys):
    """The new table is in another folder than the old one and its feature table; and --join may
    name another."""
    frame, (old, new) = impressions().drop(columns=""), (tmp_path / "old", tmp_path / "new")
    for folder in (old, new):
        folder.mkdir()
        frame.drop(columns=["tags", "day", "purchase"]).to_csv(folder / "days.csv", index=False)
    items = pd.DataFrame({"item_id": np.sort(frame["item_id"].unique())})
    items.assign(size=np.arange(len(items)) / 7).to_csv(old / "items.csv", index=False)
    flags = ["--label", "click", "--domain", "scene", "--epochs", "1"]
    flags += ["--model_name", "mlp", "--join", str(old / "items.csv:item_id"), "--quiet"]
    flags += ["--table", str(old / "days.csv"), "--save_dir", str(old / "run")]
    assert exit_code(own_table.main, *SCRIPT, flags) == 0
    flags = ["--table", str(new / "days.csv"), "--init_from", str(old / "run"), "--quiet"]
    for more in ([], ["--join", str(new / "items.csv:item_id")]):
        argv = [*flags, *more, "--save_dir", str(new / f"run{len(more)}")]
        assert exit_code(own_table.main, *SCRIPT, argv) == 0
        if not more:
            (old / "items.csv").rename(new / "items.csv")


def test_models_of_several_labels_are_not_continued(first, tmp_path, capsys):
    """They would be trained from nothing, without a word."""
    (tmp_path / "config.json").write_text(
        json.dumps({"options": {"model_name": "mmoe", "label": LABELS}})
    )
    argv = ["--table", str(first.parent / "day2.csv"), "--init_from", str(tmp_path)]
    words = ["--init_from continues models of one label, and mmoe has several"]
    assert_refused(capsys, words, own_table.main, *SCRIPT, argv)
