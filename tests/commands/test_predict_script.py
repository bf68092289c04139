"""examples/predict.py: rows in, probabilities out, in the order of the input."""

import gzip
import io
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import hamur
from hamur.commands.predict import main
from hamur.data import Columns, load_table
from hamur.errors import DataFormatError
from hamur.predictor import Predictor
from tests.support.commands import assert_refused, exit_code

ROWS = 700
REST = ["row", "buy"]


def shop(rows: int = ROWS, seed: int = 5) -> pd.DataFrame:
    """A click log with a number, two labels, and a column that no model reads."""
    draws = np.random.default_rng(seed)
    user, item = draws.integers(0, 20, rows), draws.integers(0, 7, rows)
    return pd.DataFrame(
        {
            "row": [f"r{n}" for n in range(rows)],
            "user_id": [f"u{n}" for n in user],
            "item_id": item,
            "country": np.array(["NL", "FR", "DE"])[draws.integers(0, 3, rows)],
            "price": np.round(draws.random(rows) * 9, 2),
            "click": (draws.random(rows) < 0.3 + 0.05 * item).astype(int),
            "buy": (draws.random(rows) < 0.5).astype(int),
        }
    )


def fitted(labels):
    """A predictor of that table, whose score is a function of what was encoded."""
    said = dict(sparse=["user_id", "item_id"], dense=["price"])
    said["ignore"] = ["row", *{"click", "buy"}.difference(labels)]
    _, schema = load_table(shop(), Columns.from_json(said), label=labels, domain="country")

    def score(table, preference=None):
        hidden = table.sparse.astype(float) @ np.arange(1, schema.num_sparse + 1)
        hidden = hidden + table.dense.sum(axis=1) + 10 * table.domain
        scores = 1 / (1 + np.exp(3 - hidden / 9))
        if preference is not None:
            scores = scores * preference[0]
        return scores.astype(np.float32) if len(labels) == 1 else np.stack([scores, 1 - scores], 1)

    return Predictor(schema, score)


@pytest.fixture(scope="module")
def one_label():
    return fitted(["click"])


@pytest.fixture(scope="module")
def two_labels():
    return fitted(["click", "buy"])


@pytest.mark.slow
def test_scores_of_a_trained_run_are_those_of_its_tables(tmp_path, monkeypatch):
    """Also of blocks for which a graph of their own is compiled."""
    from hamur import training
    from hamur.commands import predict, ranking

    columns = Columns.from_json(dict(sparse=["user_id", "item_id"], dense=["price"], ignore=REST))

    def load(path):
        return load_table(shop(), columns, label="click", domain="country")

    flags = ["--epochs", "1", "--save_dir", "run", "--quiet"]
    assert ranking.main(load, "a_script.py", "", flags) == 0
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    frame = shop(900, seed=9)
    frame.to_csv("new.csv", index=False)
    model = hamur.load("run")
    truth = training.predict(model.score.args[0], model.encode(frame))
    for many in (10**9, 1):
        monkeypatch.setattr(predict, "MANY", many)
        assert run("--input", "new.csv", "--output", "out.csv", "--quiet") == 0
        np.testing.assert_allclose(pd.read_csv("out.csv")["probability"], truth, atol=1e-6)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, one_label):
    """The working directory, where any run is this predictor."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hamur, "load", lambda run: one_label, raising=False)
    return tmp_path


def run(*flags) -> int:
    return exit_code(main, "predict.py", "a description", ["--run", "run", *map(str, flags)])


def expected(model, frame: pd.DataFrame) -> np.ndarray:
    rows = model.encoders.rows(frame)
    return model.score(model.encoders.encode(rows, model.schema)[0])


def read(path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


@pytest.mark.parametrize("source", ["new.csv", "new.tsv", "new.csv.gz", "new.parquet"])
@pytest.mark.parametrize("target", ["out.csv", "out.csv.gz", "out.parquet"])
def test_a_row_of_the_output_is_the_score_of_its_row(source, target, folder, one_label):
    frame, path = shop(seed=6).sample(frac=1, axis=1, random_state=1), folder / source
    frame = frame.drop(columns=["click", "buy"])
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    assert run("--input", source, "--output", target, "--keep", "row,item_id", "--quiet") == 0
    found = read(folder / target)
    assert list(found) == ["row", "item_id", "probability"]
    assert (found["row"] == frame["row"]).all()
    assert (found["item_id"].astype(int) == frame["item_id"]).all()
    np.testing.assert_allclose(found["probability"], expected(one_label, frame), atol=1e-6)
    assert sorted(path.name for path in folder.iterdir()) == sorted({source, target})


def test_kept_columns_keep_the_types_of_parquet(folder):
    frame = shop(9)
    frame["when"], frame["ok"] = pd.Timestamp("2024-02-03"), True
    frame["list"] = [[n, 1] for n in range(9)]
    frame.to_parquet("new.parquet")
    kept = ["when", "ok", "price", "item_id", "list"]
    assert run("--input", "new.parquet", "--output", "out.parquet", "--keep", ",".join(kept)) == 0
    found = pd.read_parquet("out.parquet").drop(columns="probability")
    pd.testing.assert_frame_equal(found, frame[kept], check_dtype=True)


def test_kept_text_is_as_it_was(folder):
    cells = ["007", " x ", '"a, b"', '"say ""no"""', '"two\nlines"', "NA", "", "1.0", "é", "0"]
    lines = [f"{cell},u1,3,NL,1.50" for cell in cells]
    (folder / "new.csv").write_text("\n".join(["row,user_id,item_id,country,price", *lines]))
    assert run("--input", "new.csv", "--output", "out.csv", "--keep", "row,price,item_id") == 0
    as_text = dict(dtype=str, keep_default_na=False)
    found = pd.read_csv("out.csv", **as_text)
    assert found["row"].tolist() == pd.read_csv("new.csv", **as_text)["row"].tolist()
    assert found["price"].tolist() == ["1.50"] * len(cells)
    assert found["probability"].nunique() == 1


def test_bad_rows_have_no_probability_and_stand_in_the_report(folder, one_label, capsys, caplog):
    frame = shop(60)
    lines = frame.to_csv(index=False).splitlines()
    lines[5] = "r4,short"
    lines[9] = lines[9].replace(str(frame["price"][8]), "cheap")
    lines[12] = lines[12].replace(f",{frame['country'][11]},", ",Atlantis,")
    lines[60] = lines[60] + ",long"
    (folder / "new.csv").write_text("\n".join(lines) + "\n")
    flags = ("--input", "new.csv", "--output", "out.csv", "--keep", "row")
    assert_refused(capsys, ["new.csv:6:", "short", "--on_bad_rows skip"], run, *flags)
    assert not (folder / "out.csv").exists()
    flags += ("--on_bad_rows", "skip")
    assert_refused(capsys, ["4 of 60 rows are bad", "--max_bad_fraction"], run, *flags)
    assert run(*flags, "--max_bad_fraction", 0.1) == 0
    found, bad = pd.read_csv("out.csv"), [4, 8, 11, 59]
    assert np.flatnonzero(found["probability"].isna()).tolist() == bad
    rows = frame["row"].to_numpy(object)
    rows[[4, 59]] = np.nan  # of a line of another number of cells nobody can tell
    assert found["row"].equals(pd.Series(rows, dtype=found["row"].dtype))
    good = frame.drop(index=bad)
    np.testing.assert_allclose(found["probability"].dropna(), expected(one_label, good), atol=1e-6)
    error = capsys.readouterr().err
    for line, reason in ((6, "wrong number"), (10, "bad value in price"), (13, "no domain")):
        assert f"line {line}: {reason}" in error
    assert "left out 4 of 60 rows" in error


def test_many_bad_rows_of_several_blocks_keep_their_places(folder, monkeypatch):
    """More than are listed, in blocks that are read ahead."""
    from hamur.data.text import lines as text_lines

    monkeypatch.setattr(text_lines, "BLOCK_BYTES", 4096)
    frame = pd.concat([shop(seed=seed) for seed in range(8)], ignore_index=True)
    bad = np.random.default_rng(1).random(len(frame)) < 0.4
    bad[:300] = bad[-300:] = True  # whole blocks
    prices = np.where(bad, "?", frame["price"].astype(str))
    frame.assign(price=prices).to_csv("new.csv", index=False)
    flags = ("--on_bad_rows", "skip", "--max_bad_fraction", "1", "--keep", "row", "--quiet")
    assert run("--input", "new.csv", "--output", "out.csv", *flags) == 0
    found = pd.read_csv("out.csv")
    assert (found["row"] == frame["row"]).all()
    assert (found["probability"].isna() == bad).all() and bad.sum() > 2000


def test_labels_in_the_input_give_the_metrics_per_domain(folder, capsys, one_label):
    frame = shop(seed=8)
    labels = frame["click"].astype("Int64").mask(frame.index < 50)  # of which some are unknown
    frame.assign(click=labels).to_csv("new.csv", index=False)
    assert run("--input", "new.csv", "--output", "out.csv") == 0
    error = capsys.readouterr().err
    known = frame[50:]
    auc = hamur.metrics.auc(known["click"].to_numpy(), expected(one_label, known))
    (line,) = (line for line in error.splitlines() if line.startswith("all rows"))
    assert line.split()[2:5] == [f"{ROWS - 50}", f"{known['click'].sum()}", f"{auc:.4f}"]
    frame.assign(click="").to_csv("new.csv", index=False)
    assert run("--input", "new.csv", "--output", "out.csv") == 0
    assert "AUC" not in capsys.readouterr().err
    assert {"NL", "FR", "DE"} <= {line.split()[0] for line in error.splitlines() if line}


def test_several_labels_have_a_probability_each(folder, two_labels, monkeypatch, capsys):
    monkeypatch.setattr(hamur, "load", lambda run: two_labels)
    shop().to_csv("new.csv", index=False)
    flags = ("--input", "new.csv", "--output", "out.csv")
    assert run(*flags) == 0
    found = pd.read_csv("out.csv")
    assert list(found) == ["probability_click", "probability_buy"]
    np.testing.assert_allclose(found, expected(two_labels, shop()), atol=1e-6)
    assert {"click", "buy"} <= set(capsys.readouterr().err.splitlines())
    assert run(*flags, "--preference", "1,0", "--quiet") == 0
    assert_refused(capsys, ["--preference"], run, *flags, "--preference", "much")


def test_standard_input_and_output(folder, one_label, monkeypatch):
    frame = shop(30)
    for form, write in (("csv", "to_csv"), ("parquet", "to_parquet")):
        text, out = io.BytesIO(), io.BytesIO()
        getattr(frame, write)(text, index=False)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.getvalue())))
            patch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
            assert run("--input", "-", "--output", "-", "--format", form, "--quiet") == 0
        found = getattr(pd, f"read_{form}")(io.BytesIO(out.getvalue()))
        np.testing.assert_allclose(found["probability"], expected(one_label, frame), atol=1e-6)


def test_what_training_did_not_know(folder, one_label, capsys):
    frame = shop(40).assign(price=4.0)
    frame.loc[:3, "user_id"], frame.loc[:1, "price"] = "new", 99.0
    frame.to_csv("new.csv", index=False)
    assert run("--input", "new.csv", "--output", "out.csv") == 0
    error = capsys.readouterr().err
    assert "unknown or empty user_id: 4" in error and "clipped price: 2" in error
    frame.assign(country="XX").to_csv("new.csv", index=False)
    flags = ("--input", "new.csv", "--output", "out.csv")
    assert_refused(capsys, ["new.csv:2:", "'XX'", "NL, ", "--unknown_domain"], run, *flags)
    assert run(*flags, "--unknown_domain", "FR", "--quiet") == 0
    other = expected(one_label, frame.assign(country="FR"))
    np.testing.assert_allclose(pd.read_csv("out.csv")["probability"], other, atol=1e-6)
    frame.drop(columns=["user_id", "price"]).to_csv("new.csv", index=False)
    assert_refused(capsys, ["user_id", "price", "--allow_missing"], run, *flags)


PRICES = pd.DataFrame({"id": range(9), "price": [1.5, 2, 4, 0.5, 8, 3, 1, 9, 7]})
PRICES["country"] = np.array(["NL", "FR", "DE"])[PRICES["id"] % 3]


def test_feature_tables_are_joined_as_in_training(folder, monkeypatch, capsys):
    """A number and the domain are in another file, under a key that is called otherwise there."""
    PRICES.drop(index=5).to_csv("products.csv", index=False)
    frame = shop().drop(columns=["price", "country"])
    said = dict(sparse=["user_id", "item_id"], dense=["price"], ignore=REST)
    said |= dict(join=[dict(file="products.csv", on=dict(left="item_id", right="id"))])
    frame[frame["item_id"] != 5].to_csv("log.csv", index=False)
    _, schema = load_table("log.csv", Columns.from_json(said), label="click", domain="country")
    model = Predictor(schema, lambda table, _: (table.dense[:, 0] + table.domain) / 3)
    monkeypatch.setattr(hamur, "load", lambda run: model)
    frame.to_csv("new.csv", index=False)
    flags = ("--input", "new.csv", "--output", "out.csv", "--keep", "row")
    words = ["'price', 'country'", "merge products.csv", "--join products.csv", "--allow_missing"]
    assert_refused(capsys, words, run, *flags)
    with pytest.raises(DataFormatError, match=r"merge products\.csv into the rows"):
        model.predict(frame)
    assert_refused(capsys, ["--join has 2 files", "products.csv"], run, *flags, "--join", "a,b")
    flags += ("--join", "products.csv")
    assert_refused(capsys, ["new.csv:", "no domain", "--unknown_domain"], run, *flags)
    PRICES.to_csv("products.csv", index=False)  # which a run does not keep
    assert run(*flags, "--quiet") == 0
    found = pd.read_csv("out.csv")
    merged = frame.merge(PRICES, left_on="item_id", right_on="id", how="left").drop(columns="id")
    assert (found["row"] == frame["row"]).all()
    np.testing.assert_allclose(found["probability"], model.predict(merged), atol=1e-6)
    PRICES.drop(index=5).to_csv("products.csv", index=False)
    assert run(*flags, "--quiet", "--unknown_domain", "FR") == 0
    alone = (frame["item_id"] == 5).to_numpy()
    assert f"{alone.sum()} rows have no partner in products.csv" in capsys.readouterr().err
    merged.loc[alone, ["price", "country"]] = [None, "FR"]
    again = pd.read_csv("out.csv")["probability"]
    np.testing.assert_allclose(again, model.predict(merged), atol=1e-6)
    assert not np.allclose(again[alone], found["probability"][alone])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--input", "new.csv", "--output", "out.csv", "--join", "a.csv"], ["no feature table"]),
        (["--input", "new.csv"], ["--output is missing"]),
        (["--input", "new.csv", "--output", "new.csv"], ["name another file"]),
        (["--input", "new.csv", "--output", "../{}/new.csv"], ["name another file"]),
        (["--input", "new.csv", "--output", "out.csv.zst"], [".csv.gz or .parquet"]),
        (["--input", "lists.parquet", "--output", "out.csv", "--keep", "row"], ["a .parquet file"]),
        (["--input", "new.csv", "--output", "."], ["--output . is a folder"]),
        (["--input", "new.csv", "--output", "out.csv", "--keep", "probability"], ["rename it"]),
        (["--input", "no.csv", "--output", "out.csv"], ["no.csv"]),
        (["--input", "new.csv", "--output", "out.csv", "--keep", "rwo"], ["no column 'rwo'"]),
        (["--input", "empty.csv", "--output", "out.csv"], ["empty.csv"]),
    ],
)
def test_wrong_usage_is_one_line(flags, words, folder, capsys):
    shop(3).to_csv("new.csv", index=False)
    shop(3).assign(row=[[1], [2], []]).to_parquet("lists.parquet")
    (folder / "empty.csv").touch()
    before = sorted(folder.iterdir()), (folder / "new.csv").read_bytes()
    assert_refused(capsys, words, run, *(flag.format(folder.name) for flag in flags))
    assert (sorted(folder.iterdir()), (folder / "new.csv").read_bytes()) == before


def test_no_rows_have_no_scores(folder, one_label):
    for nothing in ([], shop(0), {name: [] for name in shop(0)}):
        assert one_label.predict(nothing).shape == (0,)
    lacking = one_label.predict([{}] * 3, unknown_domain="FR", allow_missing=True)
    assert lacking.shape == (3,) and one_label.report.unknown["user_id"] == 3
    shop(0).to_csv("new.csv", index=False)
    assert run("--input", "new.csv", "--output", "out.csv.gz", "--keep", "row") == 0
    assert gzip.decompress((folder / "out.csv.gz").read_bytes()) == b"row,probability\n"
