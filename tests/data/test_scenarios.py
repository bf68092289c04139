"""The four processed CSVs of Scenario-Wise-Rec: columns, domains, what is recognised."""

import csv
import gzip
import random

import numpy as np
import pandas as pd
import pytest

from hamur.data import detect, load_scenarios
from hamur.data.descriptions import AMAZON_3, DOUBAN, DOUBAN_NUMBERED, KUAIRAND, MIND, SETS
from hamur.errors import (
    DataFileNotFoundError,
    DataFormatError,
    UnknownDomainError,
)
from tests.support.caches import assert_same

ROWS = 400
# Of few rows a domain may have one class only.
pytestmark = pytest.mark.filterwarnings("ignore::hamur.errors.SingleClassWarning")


SET_OF = {id(columns): name for name, (described, _) in SETS.items() for columns in described}


def file_of(described):
    return SETS[SET_OF[id(described)]][1][0]


def cells(described, rng, number):
    """One row by column: every kind of cell that the public files hold."""
    row = {name: rng.randrange(1, 9) for name in described.names}
    row |= {name: f"{rng.randrange(4)}.0" for name in row if name.startswith("onehot")}
    row |= {name: f"({rng.randrange(3)},{5 + number % 3}]" for name in row if "_range" in name}
    row |= {name: rng.randrange(500) for name in described.dense}
    (label,) = described.labels
    row[label] = rng.randrange(2)
    values, domain = described.domain.values, described.domain.column
    if described.domain.drop_others:
        row[domain] = rng.choice([*values, "3"])
    else:
        row[domain] = values[number % len(values)]
    if "living_place" in row:
        row["living_place"] = rng.choice(["Beijing", "Shanghai", ""])
        row["join_time"] = "2008-03-01"
    return row


def write(folder, described, name=None, order=None, rows=ROWS):
    """The rows that were written, as text."""
    rng = random.Random(3)
    made = [{k: str(v) for k, v in cells(described, rng, n).items()} for n in range(rows)]
    with (folder / (name or file_of(described))).open("w", newline="") as file:
        writer = csv.DictWriter(file, order or described.names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(made)
    return made


def plain(cell):
    return cell.removesuffix(".0")


@pytest.mark.parametrize("described", [KUAIRAND, AMAZON_3, DOUBAN, DOUBAN_NUMBERED, MIND])
def test_every_cell_follows_from_the_file(described, tmp_path):
    order = list(described.names)
    random.Random(1).shuffle(order)
    rows = write(tmp_path, described, order=order)
    splits, schema = load_scenarios(tmp_path, cache_dir=tmp_path / "c")
    domain, (label,) = described.domain, described.labels
    kept = [n for n, row in enumerate(rows) if row[domain.column] in domain.values]
    assert sorted(np.concatenate([t.row_id for t in splits]).tolist()) == kept
    train, valid = int(0.8 * len(kept)), int(0.1 * len(kept))
    assert [len(table) for table in splits] == [train, valid, len(kept) - train - valid]
    assert schema.name == SET_OF[id(described)] and schema.domain_names == tuple(domain.groups)
    assert schema.sparse_names == (*described.sparse, "domain_indicator")
    assert schema.dense_names == described.dense and schema.labels == (label,)
    for name in described.sparse:
        f = schema.sparse_names.index(name)
        known = sorted({plain(rows[n][name]) for n in splits.train.row_id} - {""})
        assert schema.vocab_sizes[f] == len(known) + 1
        for table in splits:
            wanted = [plain(rows[n][name]) for n in table.row_id]
            ids = [known.index(cell) + 1 if cell in known else 0 for cell in wanted]
            assert table.sparse[:, f].tolist() == ids
    for c, name in enumerate(described.dense):
        values = [float(rows[n][name]) for n in splits.train.row_id]
        low, high = min(values), max(values)
        for table in splits:
            wanted = [(float(rows[n][name]) - low) / (high - low) for n in table.row_id]
            np.testing.assert_allclose(table.dense[:, c], np.clip(wanted, 0, 1), atol=1e-6)
    number = {value: d for d, group in enumerate(domain.groups.values()) for value in group}
    for table in splits:
        table.validate(schema)
        assert table.labels[:, 0].tolist() == [int(rows[n][label]) for n in table.row_id]
        assert table.domain.tolist() == [number[rows[n][domain.column]] for n in table.row_id]
    left_out = ROWS - len(kept)
    dropped = schema.split["files"][file_of(described)]["dropped"]
    assert dropped == ({f"other {domain.column}": left_out} if domain.drop_others else {})


def test_douban_by_name_and_by_number_are_the_same_domains(tmp_path):
    """The public converter numbers Book 0, Movie 1, Music 2; ours are book 0, music 1, movie 2."""
    numbers = {"book": "0", "movie": "1", "music": "2"}
    rows = write(tmp_path, DOUBAN)
    with (tmp_path / "numbered.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, DOUBAN_NUMBERED.names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: v for k, v in row.items() if k != "domain"} | {"domain_id": numbers[row["domain"]]}
            for row in rows
        )
    one, schema = load_scenarios(tmp_path / "douban.csv", cache_dir=tmp_path / "c")
    other, again = load_scenarios(tmp_path / "numbered.csv", cache_dir=tmp_path / "c")
    for a, b in zip(one, other):
        assert np.array_equal(a.domain, b.domain) and np.array_equal(a.sparse, b.sparse)
    assert schema.fields == again.fields and schema.domain_names == ("book", "music", "movie")


def test_packed_and_parquet_files_are_the_same_set(tmp_path):
    """Read as text: a code of KuaiRand is 1.0 or 1, in Parquet it may be a float with nulls."""
    rows = write(tmp_path, KUAIRAND)
    expected, schema = load_scenarios(tmp_path, cache_dir=tmp_path / "c")
    packed = tmp_path / "packed"
    packed.mkdir()
    (packed / "kuairand.csv.gz").write_bytes(
        gzip.compress((tmp_path / "kuairand.csv").read_bytes())
    )
    frame = pd.DataFrame(rows)
    numbers = [name for name in frame if name not in KUAIRAND.sparse or name.startswith("onehot")]
    frame[numbers] = frame[numbers].astype(float)
    frame["tab"] = frame["tab"].astype(int)
    parts = tmp_path / "parts"
    parts.mkdir()
    frame[:150].to_parquet(parts / "0.parquet")
    frame[150:][frame.columns[::-1]].to_parquet(parts / "1.parquet")
    frame.to_parquet(tmp_path / "kuairand.parquet")
    for path in (packed, parts, tmp_path / "kuairand.parquet"):
        found, again = load_scenarios(path, cache_dir=tmp_path / "c")
        assert_same(expected, found)
        assert again.fields == schema.fields
    assert_same(expected, detect.load(packed, cache_dir=tmp_path / "c")[0])


def test_bad_rows_of_parts_are_left_out_and_listed(tmp_path):
    frame = pd.DataFrame(write(tmp_path, MIND, rows=60))
    parts = tmp_path / "parts"
    parts.mkdir()
    frame.loc[40, "Category"] = "weather"
    frame[:30].to_parquet(parts / "0.parquet")
    frame[30:].to_parquet(parts / "1.parquet")
    with pytest.raises(UnknownDomainError, match=r"parts:41: column 'Category'.*weather"):
        load_scenarios(parts, cache_dir=tmp_path / "c")
    _, schema = load_scenarios(parts, on_bad_rows="skip", cache_dir=tmp_path / "c")
    assert schema.split["files"]["parts"]["dropped"] == {"no domain in Category": 1}


def test_unknown_domains_and_headers_are_named(tmp_path):
    rows = write(tmp_path, MIND, rows=60)
    path = tmp_path / "mind_all.csv"
    text = path.read_text()
    lines = text.split("\n")
    lines[6] = lines[6].replace(rows[5]["Category"], "weather")
    path.write_text("\n".join(lines))
    with pytest.raises(UnknownDomainError, match=r"mind_all\.csv:7: column 'Category'.*weather"):
        load_scenarios(tmp_path, cache_dir=tmp_path / "c")
    _, schema = load_scenarios(tmp_path, on_bad_rows="skip", cache_dir=tmp_path / "c")
    assert schema.split["files"]["mind_all.csv"]["dropped"] == {"no domain in Category": 1}
    path.write_text(text.replace("SubCategory", "Sub", 1))
    with pytest.raises(DataFormatError, match="missing column 'SubCategory'; surplus column 'Sub'"):
        load_scenarios(tmp_path, cache_dir=tmp_path / "c")


def test_what_is_there_is_recognised_or_refused(
    tmp_path, movielens_folder, ali_folder, monkeypatch
):
    monkeypatch.setenv("HAMUR_CACHE", str(tmp_path / "c"))
    for folder, name in ((movielens_folder, "ml-1m"), (ali_folder, "ali-ccp")):
        assert detect.load(folder)[1].name == name
    assert detect.load(next((tmp_path / "c").glob("ml-1m-*")))[1].name == "ml-1m"
    for name, ((described, *_), (_, sample)) in SETS.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name, described, sample, rows=200)
        assert detect.load(tmp_path / name)[1].name == name
    write(tmp_path / "mind", DOUBAN)
    with pytest.raises(DataFormatError, match=r"ambiguous: douban\.csv and mind_sample\.csv"):
        load_scenarios(tmp_path / "mind")
    (tmp_path / "mind" / "ratings.dat").write_text("")
    with pytest.raises(DataFormatError, match="ambiguous: files of several data sets"):
        detect.load(tmp_path / "mind")
    (tmp_path / "empty").mkdir()
    for load in (detect.load, load_scenarios):
        with pytest.raises(DataFormatError, match="recognised"):
            load(tmp_path / "empty")
        with pytest.raises(DataFileNotFoundError, match="no such"):
            load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["ali-ccp-sample", "ali-ccp-raw-sample", "ml-1m-sample",
                                  "aliexpress-sample", "amazon-sample"])  # fmt: skip
def test_the_bundled_samples_are_recognised(name, tmp_path):
    from hamur.data.movielens.load import SAMPLE

    splits, schema = detect.load(SAMPLE.parent / name, cache_dir=tmp_path)
    assert name.startswith(schema.name) or schema.name.startswith("SynBooks")
    assert len(splits.train) > 500
