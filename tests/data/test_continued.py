"""A table that continues an earlier one: what it was fitted on stays, and new values follow."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from hamur.data import load_table
from hamur.data.columns import Columns, Domain, MultiColumn
from hamur.errors import DataValueError
from tests.data.test_own_table import COLUMNS, impressions
from tests.support.faults import assert_ours

pytestmark = pytest.mark.filterwarnings("ignore::hamur.errors.SingleClassWarning")
LABELS = ["click", "purchase"]


def later(frame):
    """A month later: a user, a tag and a scene that were not there."""
    frame = frame.copy()
    frame["user_id"] = frame["user_id"].replace({"u00001": "u99999"})
    frame["tags"] = frame["tags"].str.replace("f", "new")
    frame["day"] = (pd.to_datetime(frame["day"]) + pd.Timedelta(days=30)).astype(str)
    frame.loc[:99, "scene"] = "pos"
    frame["price"] *= 3
    return frame


@pytest.fixture(scope="module")
def first():
    return load_table(impressions(), COLUMNS)


@pytest.fixture(scope="module")
def second(first):
    return load_table(later(impressions(seed=8)), earlier=first[1], add_domain=["pos"])


def test_old_rows_have_the_inputs_they_had(first, second):
    rows = impressions().drop(columns=LABELS)
    tables = [schema.encoders.encode(schema.encoders.rows(rows), schema)[0] for _, schema in
              (first, second)]  # fmt: skip
    for name in ("sparse", "dense", "domain"):
        np.testing.assert_array_equal(getattr(tables[0], name), getattr(tables[1], name))
    assert first[1].multi[0].max_len == second[1].multi[0].max_len
    for ids in zip(*(table.padded for table in tables)):
        np.testing.assert_array_equal(*ids)


def test_new_values_and_domains_follow_the_old_ones(first, second):
    (_, old), (splits, new) = first, second
    assert new.domain_names == (*old.domain_names, "pos")
    sizes = [{spec.name: spec.vocab_size for spec in schema.fields} for schema in (old, new)]
    grown = {name: size - sizes[0][name] for name, size in sizes[1].items()}
    assert grown == dict.fromkeys(grown, 0) | {"user_id": 1, "tags": 1, "domain_indicator": 1}
    for name, known in old.encoders.vocabularies.items():
        values = list(new.encoders.vocabularies[name].values)
        assert values[: len(known.values)] == list(known.values)
    assert new.encoders.vocabularies["user_id"].values[-1] == "u99999"
    assert new.encoders.scalers == old.encoders.scalers
    assert (splits.train.domain == old.num_domains).any()
    assert (splits.train.sparse[:, 0] > 0).all()  # all users are known


def test_a_third_table_continues_the_second(second):
    frame = later(impressions(seed=9))
    frame.loc[100:150, "scene"] = "kiosk"
    _, schema = load_table(frame, earlier=second[1], add_domain=["kiosk"])
    assert schema.domain_names == (*second[1].domain_names, "kiosk")


def test_the_cache_tells_what_a_table_continues(first, tmp_path):
    file = tmp_path / "day2.csv"
    later(impressions(seed=8)).to_csv(file, index=False)
    other = load_table(impressions(seed=11)[:300], COLUMNS)[1]
    found = []
    for earlier in (first[1], other, first[1]):
        about = dict(earlier=earlier, add_domain=["pos"], cache_dir=tmp_path / "cache")
        found.append(load_table(file, **about)[1].encoders.digest())
    assert found[0] == found[2] != found[1]


CLOSED = Columns(
    kinds={}, labels={"click": "click"}, sparse=("user_id",), multi=(MultiColumn("tags"),),
    domain=Domain("scene"), ignore=("", "purchase", "item_id", "price", "day"), min_domain_rows=0,
)  # fmt: skip


def test_what_cannot_be_continued_is_told(first):
    frame = impressions()
    _, closed = load_table(frame, CLOSED)
    with pytest.raises(DataValueError, match=r"'pos'.*add its domain by `add_domain`") as told:
        load_table(later(frame), earlier=closed)
    assert_ours(told.value)
    with pytest.raises(ValueError, match="`add_domain=home`: the earlier run has this domain"):
        load_table(frame, earlier=closed, add_domain=["home"])
    binned = COLUMNS, dict(domain=Domain("price", bins=(5.0,)))
    _, binned = load_table(frame, binned[0], **binned[1])
    with pytest.raises(ValueError, match="column of domains, which has bins"):
        load_table(frame, earlier=binned, add_domain=["9"])
    frame["country"] = np.arange(len(frame)) % 3
    numbers = dataclasses.replace(COLUMNS, kinds={"country": "int"}, domain=Domain("country"))
    _, numbers = load_table(frame, numbers, ignore=["scene"])
    with pytest.raises(ValueError, match="`add_domain=NL`: column 'country' holds numbers"):
        load_table(frame, earlier=numbers, add_domain=["NL"])
