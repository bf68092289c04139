"""A step of several workers is the step of one process on the whole batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamur import workers
from hamur.layers.collectives import rows_are_smaller
from hamur.workers import divided
from tests.support import worker_steps

ROOT = Path(__file__).parents[2]
MSRUN = [sys.executable, "-c", "from mindspore.parallel.cluster.run import main; main()"]
# Batch norm takes away what some of their parameters add: a bias, a field of one value.  The
# gradient of these is rounding, which Adam scales up to whole steps; the losses stay the same.
ROUNDING = ("pomoe", "aitm", "star")


def launched(folder, number, *command):
    """(command, options of subprocess) for so many processes of msrun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = [f"--worker_num={number}", f"--local_worker_num={number}", f"--master_port={port}"]
    flags += [f"--log_dir={folder / 'logs'}", "--join=True", "--cluster_time_out=60"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GLOG_v": "3"}
    here = Path(sys.executable).parent  # msrun calls python
    environment["PATH"] = f"{here}{os.pathsep}{os.environ['PATH']}"
    return [*MSRUN, *flags, *map(str, command)], dict(cwd=folder, env=environment)


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any),
    st.integers(1, 5),
    st.booleans(),
)
def test_the_shares_are_the_batch(quotas, number, by_domain):
    rows, quotas = sum(quotas), tuple(quotas) if by_domain else None
    shares = [divided(rows, quotas, which, number) for which in range(number)]
    own = np.concatenate([share.order[share.own] for share in shares])
    assert sorted(own) == list(range(rows))  # each row once
    assert len({len(share.order) for share in shares}) == 1  # one compiled form for all
    domain = np.repeat(np.arange(len(quotas)), quotas) if by_domain else np.zeros(rows, int)
    for share in shares:
        assert share.quotas is None or sum(share.quotas) == len(share.order)
        found = domain[share.order]
        assert list(found) == sorted(found)  # rows stay ordered by domain
        if by_domain:
            assert tuple(np.bincount(found, minlength=len(quotas))) == share.quotas


def compare(folder, names, number):
    """Train in this process and in workers; all weights must be equal to 1e-5."""
    alone, together = folder / "alone", folder / "together"
    for each in (alone, together):
        each.mkdir()
    for name in names:
        worker_steps.train(name, alone)
    command, options = launched(folder, number, worker_steps.__file__, together, ",".join(names))
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for name in names:
        with np.load(alone / f"{name}.npz") as one, np.load(together / f"{name}.npz") as many:
            assert one.files == many.files
            for key in one.files:
                limit = 1e-5 if name not in ROUNDING else 1e-4 if key == "losses" else 5e-3
                about = f"{name} {key}"
                np.testing.assert_allclose(many[key], one[key], limit, limit, err_msg=about)


def test_two_workers_train_as_one_process(tmp_path):
    compare(tmp_path, ["mlp_adp", "conet"], 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:norm_inference")
@pytest.mark.parametrize("number", [2, 4])
def test_workers_train_as_one_process(tmp_path, number):
    names = ["mlp_adp", "mlp_adp-official", "mlp_adp-lazy", "dcn_md_adp", "pomoe", "conet"]
    names += ["single_domain", "star", "adaptdhm", "aitm", "conet_s", "mlp_adp-rows"]
    compare(tmp_path, names, number)


def test_rows_are_exchanged_where_they_are_fewer_than_the_table(monkeypatch):
    assert not rows_are_smaller(10, 10**6, 16)  # one process exchanges nothing
    monkeypatch.setenv(workers.NUMBER, "4")
    assert rows_are_smaller(10_000, 10**6, 16)
    assert not rows_are_smaller(10_000, 10_000, 16)


def test_what_cannot_be_divided_is_refused(monkeypatch):
    workers.refuse("a search")
    monkeypatch.setenv(workers.NUMBER, "3")
    with pytest.raises(ValueError, match="a search cannot be divided among 3 workers; start"):
        workers.refuse("a search")
    monkeypatch.delenv(workers.NUMBER)
    monkeypatch.setenv("RANK_SIZE", "2")
    with pytest.raises(ValueError, match="RANK_SIZE is 2; start several processes with msrun"):
        workers.count()


def test_a_lost_worker_is_told_in_one_line(monkeypatch):
    with pytest.raises(RuntimeError), workers.named_losses():
        raise RuntimeError("a defect")
    monkeypatch.setenv(workers.NUMBER, "2")
    told = pytest.raises(
        ValueError, match=r"a worker was lost, .*: node 1 is gone; start all again"
    )
    with told, workers.named_losses():
        raise RuntimeError("-----\nnode 1 is gone\nmore")
