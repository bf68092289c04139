"""Folders that one process writes to, and what is left of a file that could not be written."""

import dataclasses
import errno
import os
import subprocess
import sys

import pytest

from hamur import files, training
from hamur.commands.cross_domain_config import CrossDomainConfig
from hamur.commands.make_synthetic import SyntheticConfig
from hamur.commands.multi_task_config import TaskConfig
from hamur.commands.own_table import RankingTable, TaskTable
from hamur.commands.prepare_data import PrepareConfig
from hamur.commands.ranking import RankingConfig
from hamur.commands.script import command
from hamur.config import PLACES
from hamur.studies.ablation import AblationConfig
from hamur.studies.fronts import StudyConfig
from hamur.studies.planted import PlantedConfig

CONFIGS = (RankingConfig, TaskConfig, CrossDomainConfig, AblationConfig, StudyConfig)
CONFIGS += (RankingTable, TaskTable, PlantedConfig, SyntheticConfig, PrepareConfig)
HOLDER = "import sys, time; from hamur.files import locked\n"
HOLDER += "with locked(sys.argv[1]): print(flush=True); time.sleep(600)"


def test_one_process_writes_to_a_folder_and_its_death_frees_it(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE) as one:
        try:
            one.stdout.readline()
            text = rf"process {one.pid} is writing to this folder; wait .* another `save_dir`"
            with pytest.raises(ValueError, match=text), files.locked(tmp_path):
                pass
        finally:
            one.kill()
            one.wait()
    mine = {tmp_path / "last" / ".hidden.tmp", tmp_path / "notes.1.tmp"}
    left = {tmp_path / "last" / ".state-3.safetensors.123.tmp", tmp_path / ".metrics.json.9.tmp"}
    left |= {tmp_path / "last" / ".tmpnp14aw"}  # as safetensors names it
    (tmp_path / "last").mkdir()
    for path in (*mine, *left):
        path.touch()
    with files.locked(tmp_path), files.locked(tmp_path):  # this process may ask again
        assert {path for path in (*mine, *left) if path.exists()} == mine
    assert not (tmp_path / ".lock").exists()


def test_a_lock_of_a_removed_file_is_taken_anew(tmp_path, monkeypatch):
    path, calls = tmp_path / "lock", []

    def flock(*_):
        if not calls:
            path.unlink()  # by the process that held it, between opening and locking
        calls.append(1)

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with files.lock(path):
        assert len(calls) == 2 and path.read_text() == str(os.getpid())


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    events, replace = [], os.replace
    monkeypatch.setattr(files, "sync", lambda path: events.append(path.name))
    monkeypatch.setattr(os, "replace", lambda *names: events.append("rename") or replace(*names))
    files.write_text(tmp_path / "a.txt", "new")
    assert events == [f".a.txt.{os.getpid()}.tmp", "rename", tmp_path.name]


def test_a_full_disk_leaves_the_old_file_and_names_it(tmp_path, monkeypatch):
    files.write_text(tmp_path / "a.txt", "old")

    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        files.write_text(tmp_path / "a.txt", "new")
    assert caught.value.filename == str(tmp_path / "a.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old\n"


@pytest.mark.parametrize("config", CONFIGS)
def test_an_empty_name_is_not_the_current_folder(config):
    names = [field.name for field in dataclasses.fields(config) if field.name in PLACES]
    assert names
    for name in names:
        with pytest.raises(ValueError, match=f"--{name} is empty; name a folder"):
            config(**{name: ""})


def test_an_empty_name_is_not_the_current_folder_of_a_training():
    with pytest.raises(ValueError, match="save_dir is empty"):
        training.Trainer(training.supervised_step, save_dir="")
    with pytest.raises(ValueError, match="names no file"):
        training.export(None, "")


def test_a_name_that_is_taken_by_the_other_kind_has_a_remedy(tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    works = {
        "folder": lambda path: files.write_text(path, "text"),
        "file": lambda path: files.write_text(path / "a.txt", "text"),
        "file/last": lambda path: path.read_text(),
    }
    for name, work in works.items():
        path = tmp_path / name
        assert command("x.py", RankingConfig(), lambda: work(path), compiles=False) == 2  # noqa: B023
        (line,) = capsys.readouterr().err.splitlines()
        assert f"'{path}'; a " in line and "move it away" in line and ".tmp" not in line
