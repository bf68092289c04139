"""What columns are taken for: every rule on a hand-made column, and one answer for every format."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from hamur.data import infer
from hamur.data.columns import Columns, JoinRule
from hamur.data.domains import Domain
from hamur.data.text.lines import FileFormat
from hamur.errors import DataValueError

ROWS = 2000
NUMBERS = np.arange(ROWS)
# name -> (cells, kind that is inferred)
CASES = {
    "": (NUMBERS, "ignored"),
    "Unnamed: 0": (NUMBERS, "ignored"),
    "user_id": (NUMBERS * 7, "sparse"),  # by its name, though every value is another
    "articleKey": (NUMBERS, "sparse"),
    "zip code": ([f"{n:05d}" for n in NUMBERS], "sparse"),  # leading zeros: text, an id by its name
    "shop": ([f"00{n % 9}" for n in NUMBERS], "sparse"),
    "hash": ([str(2**64 + n % 3) for n in NUMBERS], "sparse"),
    "country": (np.array(["NL", "FR", "DE"])[NUMBERS % 3], "sparse"),
    "member": (np.array(["true", "false"])[NUMBERS % 2], "sparse"),
    "day": (np.array(["2024-01-02", "2024-01-03"])[NUMBERS % 2], "sparse"),
    "seen at": ([f"2024-01-02 {n // 60:02d}:{n % 60:02d}:00" for n in NUMBERS % 1400], "ignored"),
    "stars": (NUMBERS % 5, "sparse"),
    "stars with gaps": ([f"{n % 5}.0" if n % 7 else "" for n in NUMBERS], "sparse"),
    "clicks": (NUMBERS % 300, "dense"),  # more values than a tenth of the rows
    "balance": (NUMBERS - 1000, "dense"),
    "price": (NUMBERS / 7, "dense"),
    "rate": (np.array(["1e-3", "0.5", "NaN", ""])[NUMBERS % 4], "dense"),
    "timestamp": (1_700_000_000 + NUMBERS, "ignored"),
    "time_ms": ((1_700_000_000 + NUMBERS) * 1000, "ignored"),
    "playtime": (NUMBERS, "dense"),  # named like a time, but of no plausible one
    "constant": (NUMBERS * 0 + 3, "ignored"),
    "empty": ([""] * ROWS, "ignored"),
    "Gebühr": ([f"{n % 9}.000,{n}" if n % 9 else f"{n}" for n in NUMBERS], "ignored"),
    "comment": ([f"text {n}" for n in NUMBERS], "ignored"),
    "age": (20 + NUMBERS % 40, "dense"),  # the domains are bins of it
    "tab": (NUMBERS % 3, "label"),
}
COLUMNS = Columns({}, {"is tab 1": "tab == 1"}, (), domain=Domain("age", bins=(24.0, 34.0)))
pytestmark = pytest.mark.filterwarnings("ignore:column .* is ignored")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    frame = pd.DataFrame({name: pd.Series(cells) for name, (cells, _) in CASES.items()})
    path = tmp_path_factory.mktemp("infer") / "table.csv"
    frame.to_csv(path, index=False)
    return path


def kinds(found):
    return {each.name: each.kind for each in found}


def test_kinds_are_those_of_the_specification(table):
    columns, found = infer.fill(COLUMNS, [(table, FileFormat({}))])
    assert kinds(found) == {name: kind for name, (_, kind) in CASES.items()}
    named = {"sparse": columns.sparse, "dense": columns.dense, "ignored": columns.ignore}
    for kind, names in named.items():
        assert names == tuple(name for name, (_, k) in CASES.items() if k == kind)
    by_name = {each.name: each for each in found}
    gaps = by_name["stars with gaps"]
    assert gaps.distinct == 5 and gaps.missing == len(range(0, ROWS, 7)) and gaps.examples[0] == "0"
    assert by_name["rate"].missing == ROWS // 2
    assert by_name["Gebühr"].why == "numbers with a decimal comma, not a point"
    assert by_name["comment"].why == "text that differs in most rows"


def test_text_numbers_and_booleans_of_arrow_are_taken_for_the_same(table):
    frame = pd.read_csv(table, dtype={"shop": str, "zip code": str, "hash": str})
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    expected = kinds(infer.fill(COLUMNS, [(table, FileFormat({}))])[1])
    found = kinds(infer.fill(COLUMNS, [(arrow, FileFormat({}))])[1])
    found[""] = found.pop("Unnamed: 0.1")  # as pandas calls it
    assert found == expected


def test_lists_are_multi_and_times_and_structures_of_arrow_are_ignored():
    lists = pa.array([["a", "b"], [], None, ["c"]] * 100)
    times = pa.array(np.arange(400), pa.timestamp("s"))
    rows = pa.table({"tags": lists, "at": times, "pair": [{"a": 1}] * 400, "y": [0, 1] * 200})
    columns, found = infer.fill(Columns({}, {"y": "y"}, ()), [(rows, FileFormat({}))])
    assert kinds(found) == {"tags": "multi", "at": "ignored", "pair": "ignored", "y": "label"}
    assert [spec.name for spec in columns.multi] == ["tags"]
    assert found[0].distinct == 3 and found[0].missing == 200


def test_what_is_named_stays_and_what_is_left_out_warns(table):
    named = Columns(
        {}, COLUMNS.labels, ("comment",), ("stars",), ignore=("price",), time="timestamp"
    )
    with pytest.warns(UserWarning, match="'constant' is ignored: one value; `sparse='constant'`"):
        columns, found = infer.fill(named, [(table, FileFormat({}))])
    assert columns.sparse[0] == "comment" and columns.dense[0] == "stars"
    assert columns.ignore[0] == "price" and "timestamp" not in columns.ignore
    assert kinds(found)["timestamp"] == "time"
    again, _ = infer.fill(columns, [(table, FileFormat({}))])
    assert again == columns  # nothing is left to infer


def test_a_domain_column_is_no_feature_once_more_but_its_lists_are(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("y,country,genres\n" + "1,NL,a|b\n0,FR,b\n" * 50)
    formats = [(path, FileFormat({}))]
    columns, found = infer.fill(Columns({}, {"y": "y"}, (), domain=Domain("country")), formats)
    assert kinds(found)["country"] == "domain" and columns.sparse == ("genres",)
    fitted = Columns({"country": "code"}, {"y": "y"}, (), domain=Domain("country", {"a": ("NL",)}))
    assert kinds(infer.fill(fitted, formats)[1])["country"] == "domain"  # of a columns.json
    first = Domain("genres", first="|")
    columns, _ = infer.fill(Columns({}, {"y": "y"}, (), domain=first), formats)
    assert [spec.name for spec in columns.multi] == ["genres"]


def test_columns_of_feature_tables_are_inferred_and_their_keys_once(tmp_path):
    rows, users = tmp_path / "rows.csv", tmp_path / "users.csv"
    rows.write_text("who,y\n" + "".join(f"{n},{n % 2}\n" for n in range(300)))
    users.write_text("user,plan\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(300)))
    described = Columns({}, {"y": "y"}, (), join=(JoinRule("users.csv", ("who", "user")),))
    columns, _ = infer.fill(described, [(rows, FileFormat({})), (users, FileFormat({}))])
    assert columns.sparse == ("who", "plan")


def test_a_later_row_that_contradicts_is_told_with_the_remedy():
    error = DataValueError("not a usable value", file="t.csv", line=9, column="a", value="x",
                           remedy="correct the row")  # fmt: skip
    found = [infer.Inferred("a", "dense", "decimal numbers"), infer.Inferred("b", "dense", "named")]
    told = infer.contradicted(error, found)
    assert told.line == 9 and "`sparse='a'`" in str(told) and "\n" not in str(told)
    named = DataValueError("not a usable value", column="b", remedy="correct the row")
    assert infer.contradicted(named, found) is named


def test_columns_of_text_in_any_encoding_are_inferred(table, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(table.read_text(), encoding="utf-16")
    found = infer.fill(COLUMNS, [(path, FileFormat({}, encoding="utf-16"))])[1]
    assert kinds(found) == kinds(infer.fill(COLUMNS, [(table, FileFormat({}))])[1])
