"""Results on disk.  Every file appears whole or not at all: written aside, then renamed."""

import dataclasses
import hashlib
import math
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from hamur.data.schema import thaw
from hamur.files import replacing

PACKAGES = ("mindspore", "numpy", "hamur")
TRAIN_AGAIN = "remove the folder of this run, and train it again"  # of files that are damaged
PREDICTIONS = {"test": "predictions.parquet", "valid": "valid_predictions.parquet"}
FINGERPRINT_ROWS = 1_000_000
FINGERPRINT_LISTS = 20_000  # rows whose lists are read: they are long


def write_predictions(path: Path, table, probabilities: np.ndarray) -> None:
    """A file of PREDICTIONS: row_id, domain, label, probability of every row, in the table's order.

    row_id is the row's number in the source where the table knows it, else its position.
    probabilities (N,) float64.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    row_id = np.arange(len(table)) if table.row_id is None else np.asarray(table.row_id)
    columns = {
        "row_id": row_id,
        "domain": np.asarray(table.domain),
        "label": np.asarray(table.labels)[:, 0].astype(np.int8),
        "probability": np.asarray(probabilities),
    }
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary)


def run_description(options, model_config, script: str, splits, schema) -> dict:
    """config.json: every option as it was used, versions, commit, and which data they met.

    options, model_config: frozen dataclasses, the options already resolved.
    """
    return {
        "script": script,
        "options": dataclasses.asdict(options),
        "model_config": dataclasses.asdict(model_config),
        "versions": versions(),
        "git_commit": git_commit(),
        "data": {
            "name": schema.name,
            "rows": {part: len(table) for part, table in splits._asdict().items()},
            "fingerprint": fingerprint(splits),
            "split": thaw(schema.split),
        },
    }


def versions() -> dict[str, str | None]:
    """Python, platform and the packages whose version may move a digit."""
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # hamur used from a checkout that is not installed
            versions[package] = None
    return versions


def git_commit() -> str | None:
    """The checkout's commit, '-dirty' added when files differ from it; None outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        here = Path(__file__).resolve().parent
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def fingerprint(splits) -> str:
    """sha256 over the columns of all splits: equal data, encoding and split give equal text.

    Of longer tables an evenly spaced million of rows is read, so that the largest data set costs
    a second instead of minutes.
    """
    digest = hashlib.sha256()
    for part, table in splits._asdict().items():
        step = max(1, math.ceil(len(table) / FINGERPRINT_ROWS))
        for name in ("sparse", "dense", "labels", "domain"):
            values = np.ascontiguousarray(getattr(table, name)[::step])
            digest.update(f"{part} {name} {values.shape} {values.dtype} {len(table)}\n".encode())
            digest.update(values.tobytes())
        index = np.arange(0, len(table), max(1, math.ceil(len(table) / FINGERPRINT_LISTS)))
        for number, lists in enumerate(table.multi_valued):
            sample = lists.take(index)
            digest.update(f"{part} list {number} {sample.max_len} {sample.weighted}\n".encode())
            for values in (sample.ids, sample.values, sample.offsets):
                digest.update(values.tobytes())
    return digest.hexdigest()


def peak_rss_mib() -> float | None:
    """Largest resident memory of this process so far, in MiB; None where the system hides it."""
    try:
        # Not getrusage: on Linux it starts from the parent's size at the fork.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024**2 if sys.platform == "darwin" else 1024), 1)
