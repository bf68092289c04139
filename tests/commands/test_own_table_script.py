"""A user's table from the command line to results: six layouts, known files, published sets."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from hamur.commands import multi_task, own_table
from hamur.commands.ranking import load_splits
from hamur.data import infer, load_ali_ccp, load_movielens, load_scenarios
from hamur.data.text import lines
from hamur.models import MULTI_TASK, RANKING
from tests.support.caches import assert_same
from tests.support.commands import assert_refused, exit_code
from tests.support.own_tables import ROWS, SIX

ROOT = Path(__file__).resolve().parents[2]
TASKS = ("--model_name", "sharedbottom")
pytestmark = [
    pytest.mark.filterwarnings("ignore:column .* is ignored"),
    pytest.mark.filterwarnings("ignore::hamur.errors.SingleClassWarning"),
]
# name -> domains, sparse (without the domain's), multi and dense fields, labels
FIELDS = {
    "ml_latest": (
        {"Drama", "Comedy", "Action"}, ("userId", "movieId"), ("genres",), (), ("like",),
    ),
    "u_data": (
        {"age up to 24", "age 25 to 34", "age 35 and over"},
        ("user_id", "movie_id", "gender", "occupation", "zip"), (), ("age",), ("like",),
    ),
    "clicks": (
        {"NL", "FR", "DE", "ES", "US"}, ("user", "item"), (), ("price", "price_missing"),
        ("click",),
    ),
    "adult": (
        {"Male", "Female"}, ("age", "workclass"), (), ("fnlwgt",),
        ("income == >50K", "marital-status == Never-married"),
    ),
    "douban": ({"book", "music"}, ("user", "item"), (), (), ("rating > 3",)),
    "kuairand": (
        {"0", "1", "2", "3"}, ("user_id", "video_id", "user_active_degree"), (),
        ("register_days",), ("is_click",),
    ),
}  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, and the caches."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HAMUR_CACHE", str(tmp_path / "cache"))
    return tmp_path


def run(*argv):
    return exit_code(own_table.main, "run_own_table.py", "a script", list(argv))


@pytest.fixture
def tables_of(here, monkeypatch):
    """argv -> the tables that would be trained on."""
    seen = []
    ranking = lambda config, load, script: seen.append(load_splits(config, load))  # noqa: E731
    monkeypatch.setattr(own_table, "run_ranking", ranking)
    monkeypatch.setattr(multi_task, "run_tasks", lambda config, load, script: seen.append(load()))

    def tables(*argv):
        assert run(*argv) == 0
        return seen.pop()[:2]

    return tables


@pytest.mark.parametrize("name", SIX)
def test_a_table_that_no_loader_knows_is_one_command(name, here, tables_of, capsys):
    argv = SIX[name](here)
    splits, schema = tables_of(*argv, *(TASKS if name == "adult" else ()))
    domains, sparse, multi, dense, labels = FIELDS[name]
    assert set(schema.domain_names) == domains and schema.labels == labels
    assert {*schema.sparse_names} - {schema.domain_field} == {*sparse}
    assert tuple(spec.name for spec in schema.multi) == multi and schema.dense_names == dense
    assert sum(map(len, splits)) == ROWS
    told = capsys.readouterr().out
    known = {"ml_latest": "ml-latest", "u_data": "ml-100k", "kuairand": "kuairand"}.get(name)
    assert f"{known} describes the columns" in told if known else "distinct" in told
    again, same = tables_of(*argv, *(TASKS if name == "adult" else ()))  # from the cache
    assert same == schema
    assert_same(again, splits)


def test_a_known_file_without_header_needs_none_with_columns_auto(here, tables_of):
    argv = SIX["u_data"](here)
    flags = ("--columns", "auto", "--label", "rating>3", "--domain", "age:24,34")
    _, schema = tables_of(*argv, *flags)
    assert schema.domain_names == ("age up to 24", "age 25 to 34", "age above 34")
    assert {"user_id", "movie_id", "occupation"} <= {*schema.sparse_names}


def test_what_was_inferred_can_be_edited_and_passed_back(here, tables_of):
    argv = SIX["clicks"](here)
    splits, schema = tables_of(*argv)
    described = schema.encoders.columns.to_json()
    Path("columns.json").write_text(json.dumps(described))
    again, same = tables_of("--table", "clicks.parquet", "--columns", "columns.json")
    assert same.fields == schema.fields and same.domain_names == schema.domain_names
    assert_same(again, splits)
    described["ignore"] = [*described.get("ignore", []), "user"]
    described["sparse"] = [name for name in described["sparse"] if name != "user"]
    del described["kinds"]["user"]
    Path("columns.json").write_text(json.dumps(described))
    _, other = tables_of("--table", "clicks.parquet", "--columns", "columns.json")
    assert {*schema.sparse_names} - {*other.sparse_names} == {"user"}


def test_a_description_that_is_passed_back_needs_no_header_either(here, tables_of):
    argv = SIX["u_data"](here)
    splits, schema = tables_of(*argv)
    Path("columns.json").write_text(json.dumps(schema.encoders.columns.to_json()))
    again, same = tables_of("--table", "u.data", "--columns", "columns.json")
    assert same.fields == schema.fields and same.domain_names == schema.domain_names
    assert_same(again, splits)


def test_flags_stand_above_what_a_description_says(here, tables_of):
    argv = SIX["kuairand"](here)
    flags = ("--sparse", "register_days", "--ignore", "video_id", "--domain", "user_active_degree")
    splits, schema = tables_of(*argv, *flags, "--split", "random", "--min_count", "30")
    assert "register_days" in schema.sparse_names and not schema.dense_names
    assert "video_id" not in schema.sparse_names
    assert set(schema.domain_names) == {"full_active", "high_active"}
    assert len(splits.train) == int(0.8 * sum(map(len, splits)))


@pytest.mark.parametrize(
    ("name", "file", "row"),
    [
        ("amazon-2018", "Video_Games.csv", "{item},{user},{stars}.0,{seconds}"),
        ("amazon-2023", "Video_Games.csv", "{user},{item},{stars}.0,{seconds}000"),
        ("ml-10m", "ratings.dat", "{user}::{item}::{stars}.5::{seconds}"),
    ],
)
def test_a_layout_by_its_name(name, file, row, here, tables_of):
    header = "user_id,parent_asin,rating,timestamp\n" if name == "amazon-2023" else ""
    cells = [dict(user=n % 31 + 1, item=n % 47 + 1, stars=n % 4 + 1) for n in range(900)]
    lines = (row.format(**each, seconds=1_500_000_000 + n) for n, each in enumerate(cells))
    Path(file).write_text(header + "".join(f"{line}\n" for line in lines))
    facts = "".join(f"{n + 1}::A film ({n})::Drama|War\n" for n in range(47))
    Path("movies.dat").write_text(facts)
    Path("shops.csv").write_text("item,shop\n" + "".join(f"{n + 1},s{n % 3}\n" for n in range(47)))
    flags = {"ml-10m": ["--join", "movies.dat"], "amazon-2018": ["--join", "shops.csv"]}
    splits, schema = tables_of("--table", file, "--columns", name, *flags.get(name, ()))
    assert sum(map(len, splits)) == 900 and schema.labels == ("like",)
    assert schema.name == name and schema.split["rule"] == "time"
    users = {"amazon-2023": "user_id", "ml-10m": "user_id"}.get(name, "user")
    assert schema.group == users and schema.vocab_sizes[:2] == (32, 48)
    assert [spec.name for spec in schema.multi] == (["genres"] if name == "ml-10m" else [])
    assert ("shop" in schema.sparse_names) == (name == "amazon-2018")


def test_the_separator_and_rows_without_partner_are_told(here, tables_of, capsys):
    rows = (f"{n % 7};{n % 5};{n % 3 % 2}\n" for n in range(300))
    Path("t.csv").write_text("user_id;item_id;y\n" + "".join(rows))
    Path("items.csv").write_text("item_id,shop\n" + "".join(f"{n},{n % 2}\n" for n in range(4)))
    tables_of("--table", "t.csv", "--join", "items.csv", "--label", "y")
    told = capsys.readouterr().out
    assert "t.csv: ';' separates the columns" in told and "items.csv: 60 rows" in told


def test_a_later_cell_that_is_no_number_names_the_flag_that_helps(here, capsys, monkeypatch):
    monkeypatch.setattr(infer, "FIRST_ROWS", 100)
    monkeypatch.setattr(lines, "BLOCK_BYTES", 1 << 12)
    good = "".join(f"{n % 2},a{n % 9},{n / 7:.3f}\n" for n in range(2000))
    Path("t.csv").write_text(f"click,item,price\n{good}1,a0,cheap\n")
    argv = ("--table", "t.csv", "--label", "click")
    words = ["t.csv:2002", "'price'", "'cheap'", "--sparse price"]
    assert_refused(capsys, words, own_table.main, "run_own_table.py", "", [*argv, "--quiet"])


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], ["--table is missing"]),
        (["--table", "none.csv", "--label", "y"], ["none.csv", "no such file"]),
        (["--table", "t.csv"], ["no label is named", "--label"]),
        (["--table", "t.csv", "--label", "y,z"], ["mlp_adp takes one", "mmoe"]),
        (["--table", "t.csv", "--label", "y", "--model_name", "aitm"], ["names one", "mlp_adp"]),
        (["--table", "t.csv", "--label", "y", "--model_name", "lstm"], ["known are mlp", "pomoe"]),
        (["--table", "t.csv", "--label", "y", "--columns", "no.json"], ["no.json", "ml-latest"]),
        (["--table", "t.csv", "--label", "y", "--sparse", "no"], ["no column 'no'"]),
        (["--table", "t.csv", "--label", "y", "--fit_on", "all"], ["--fit_on all"]),
        (["--table", "t.csv", "--label", "y", "--domain", "z:3,1"], ["bins of 'z'", "ascending"]),
        (["--table", "t.csv", "--label", "y", "--sep", ";"], ["wrong separator", "--sep ','"]),
        (["--table", "t.csv", "--label", "y", "--valid_table", "t.csv"], ["--test_table"]),
        (["--table", "t.csv", "--label", "y", "--join", "t.csv:a"], ["t.csv", "another table"]),
    ],
)
def test_wrong_usage_is_one_line(argv, words, here, capsys):
    Path("t.csv").write_text("y,z,a\n" + "0,1,x\n1,0,y\n0,0,y\n1,1,x\n" * 200)
    assert_refused(capsys, words, own_table.main, "run_own_table.py", "", [*argv, "--quiet"])


def test_the_script_trains_what_other_loaders_know(here, tables_of):
    """Folders and files of published sets, as their loaders have them."""
    data = ROOT / "data"
    for folder, load in (("ml-1m-sample", load_movielens), ("ali-ccp-sample", load_ali_ccp)):
        splits, schema = tables_of("--table", str(data / folder))
        expected, known = load(data / folder)
        assert schema == known
        assert_same(splits, expected)
    _, schema = tables_of("--table", str(data / "ali-ccp-sample"), *TASKS)
    assert schema.labels == ("click", "purchase")
    cached = next(Path("cache").glob("ali-ccp*"))
    assert tables_of("--table", str(cached))[1].name == "ali-ccp"
    rows = (f"{n % 7},{n % 11},{n // 3 % 2},{n % 3}\n" for n in range(900))
    Path("amazon.csv").write_text("user,item,label,domain_indicator\n" + "".join(rows))
    splits, schema = tables_of("--table", "amazon.csv")
    expected, known = load_scenarios("amazon.csv")
    assert schema == known and schema.name == "amazon-3"
    assert_same(splits, expected)


def results(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.parametrize(
    ("name", "flags"), [("clicks", ["mlp"]), ("adult", ["singletask", "--embed_dim", "2"])]
)
def test_a_command_trains_and_writes_a_report(name, flags, here):
    argv = [*SIX[name](here), "--model_name", *flags, "--epoch", "1", "--quiet"]
    assert run(*argv, "--save_dir", "run") == 0
    content = results(Path("run"))
    if name == "adult":
        assert {*content["test"]["tasks"]} == {*FIELDS[name][-1]}
    else:
        assert len(content["test"]["domains"]) == 5 and content["dataset"] == "clicks"


@pytest.mark.parametrize(
    ("flags", "family"),
    [
        ("--model_name mmoe --label a", own_table.RankingTable),
        ("--label=income==>50K --model_name=mmoe", own_table.RankingTable),
        ("--model_name mmoe --label a,b", own_table.TaskTable),
        ("--model_name mmoe", own_table.TaskTable),
        ("--model_name pomoe --label a", own_table.TaskTable),
        ("--label a,b", own_table.RankingTable),
    ],
)
def test_the_labels_choose_between_models_of_one_name(flags, family, monkeypatch):
    monkeypatch.setitem(own_table.RANKING, "mmoe", None)
    assert own_table.family_of(flags.split()) is family


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "labels"), [*((name, 1) for name in RANKING), *((name, 2) for name in MULTI_TASK)]
)
def test_every_model_trains_on_a_table(model, labels, here):
    argv = SIX["adult"](here)
    argv[3] = argv[3] if labels > 1 else "income==>50K"
    flags = ("--model_name", model, "--epoch", "2", "--quiet", "--save_dir", "run")
    assert run(*argv, *flags) == 0
    print(model, results(Path("run"))["test"])


@pytest.mark.slow
@pytest.mark.parametrize("name", SIX)
def test_every_table_trains(name, here):
    model = "mmoe" if name == "adult" else "mlp_adp"
    argv = [*SIX[name](here), "--model_name", model, "--epoch", "12", "--quiet"]
    assert run(*argv, "--save_dir", "run") == 0
    test = results(Path("run"))["test"]
    print(name, test)
    auc = test["auc"] if name != "adult" else test["tasks"]["income == >50K"]["auc"]
    assert auc > 0.6


@pytest.mark.slow
@pytest.mark.skipif("HAMUR_DATA" not in os.environ, reason="HAMUR_DATA is not set: no real data")
@pytest.mark.parametrize("name", ["adult", "douban"])
def test_real_tables_train(name, here):
    data = Path(os.environ["HAMUR_DATA"])
    if name == "adult":
        labels = "income==>50K,marital-status==Never-married"
        argv = ["--table", str(data / "adult" / "adult.csv"), "--label", labels]
        argv += ["--domain", "gender", "--model_name", "mmoe"]
    else:
        rows = [f"{d}\t{line}" for d in ("book", "music")
                 for line in (data / "douban" / f"{d}.dat").read_text().splitlines()]  # fmt: skip
        Path("both.tsv").write_text("\n".join(rows) + "\n")
        argv = ["--table", "both.tsv", "--header", "domain,user_id,item_id,rating"]
        argv += ["--label", "rating>3", "--domain", "domain"]
    assert run(*argv, "--epoch", "2", "--quiet", "--save_dir", "run") == 0
    test = results(Path("run"))["test"]
    print(name, test)
    assert np.isfinite(test["auc"] if name == "douban" else test["tasks"]["income == >50K"]["auc"])
