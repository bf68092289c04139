"""What every test relies on: graph mode on the processor, warnings as errors, tiny tables.

Sizes are small and all different, so that a transposed axis cannot pass.
"""

import os
import warnings

os.environ.setdefault("GLOG_v", "3")  # before MindSpore is imported: no C++ log

import numpy as np
import pytest

from hamur.data.schema import FieldSpec, Schema
from hamur.data.table import Splits, Table

WARNING_FILTERS = (
    "error",
    # A deprecation inside another package is nothing that a test here could act on.
    "ignore::DeprecationWarning",
    "error::DeprecationWarning:hamur",
    "error::DeprecationWarning:tests",
    # The kernels of rows have no successor in MindSpore yet.
    "ignore:.*FusedSparse(Lazy)?Adam.*",
)


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes longer than a minute; run by make test-slow")
    for line in WARNING_FILTERS:
        config.addinivalue_line("filterwarnings", line)


@pytest.fixture(scope="session", autouse=True)
def graph_mode():
    """Compiled execution on the processor, as the scripts run."""
    import mindspore as ms

    ms.set_device("CPU")
    ms.set_context(mode=ms.GRAPH_MODE)


@pytest.fixture(scope="session", autouse=True)
def deprecated_interfaces():
    """MindSpore writes of its deprecated interfaces to its log: here such a line is a warning at
    the place that called the interface, and an error if that is ours."""
    from mindspore import log

    logged = log.warning

    def warning(msg, *args, **kwargs):
        if "deprecated" in str(msg):
            warnings.warn(str(msg), DeprecationWarning, stacklevel=3)
        logged(msg, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "warning", warning)
        yield


@pytest.fixture(scope="session", autouse=True)
def defects():
    """A defect behind a command fails a test as itself, and not as an exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hamur.commands.script.INTERNAL", ())
        yield


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """Prepared data of the tests, instead of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAMUR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_schema() -> Schema:
    return make_tiny_schema()


def make_tiny_schema() -> Schema:
    """F=3 sparse fields, C=2 dense ones, D=3 domains."""
    fields = (
        FieldSpec("user", "sparse", 11),
        FieldSpec("item", "sparse", 7),
        FieldSpec("domain", "sparse", 3),
        FieldSpec("age", "dense"),
        FieldSpec("price", "dense"),
    )
    names = ("young", "middle", "old")
    return Schema("tiny", fields, ("like",), names, domain_field="domain", group="user")


def tiny_table(schema: Schema, rows: int, seed: int) -> Table:
    """Rows of every domain in unequal shares; the label follows item, price and domain."""
    random = np.random.default_rng(seed)
    domain = random.choice(3, rows, p=(0.5, 0.3, 0.2)).astype(np.int32)
    domain[:6] = (0, 0, 1, 1, 2, 2)
    user, item = (random.integers(0, size, rows) for size in schema.vocab_sizes[:2])
    dense = random.random((rows, schema.num_dense)).astype(np.float32)
    logit = (item - 3) * np.where(domain == 2, -1.0, 1.0) + 2 * dense[:, 1] - 1
    label = random.random(rows) < 1 / (1 + np.exp(-logit))
    label[:6] = (0, 1, 0, 1, 0, 1)
    return Table(
        sparse=np.stack([user, item, domain], axis=1).astype(np.int32),
        dense=dense,
        labels=label.astype(np.float32)[:, None],
        domain=domain,
        group=user.astype(np.int64),
        row_id=np.arange(rows, dtype=np.int64) + 1000 * seed,
    )


@pytest.fixture(scope="session")
def tiny_splits(tiny_schema) -> Splits:
    return make_tiny_splits(tiny_schema)


def make_tiny_splits(schema: Schema) -> Splits:
    """600, 150 and 150 rows, both classes in every domain of every split."""
    return Splits(*(tiny_table(schema, rows, seed) for seed, rows in enumerate((600, 150, 150))))
