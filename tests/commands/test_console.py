"""The command `hamur`: the scripts by name, and the wheel that brings it."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hamur.commands.console import COMMANDS, main
from tests.support.commands import assert_refused, exit_code

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def arguments(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["hamur"])  # which a command sets


def python(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """A process of Python in a folder."""
    environment = {**os.environ, "GLOG_v": "3", **environment}
    how = dict(cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    return subprocess.run([sys.executable, *words], **how)


def test_the_list_of_commands_loads_nothing(capsys):
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2 : 2 + len(COMMANDS)]] == list(COMMANDS)
    done = python("-X", "importtime", "-m", "hamur", "--help", folder=ROOT)
    assert done.returncode == 0 and "usage: hamur" in done.stdout
    assert not {"numpy", "mindspore"} & {line.split()[-1] for line in done.stderr.splitlines()}


@pytest.mark.parametrize("words", [["trian", "--table", "a.csv"], []])
def test_an_unknown_command_is_one_line(words, capsys):
    assert_refused(capsys, ["hamur: error: ", "train, predict, "], main, words)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_a_script_with_the_flags_of_the_script(name, capsys):
    assert exit_code(main, [name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: hamur {name} [flags]")
    module, _, script, _ = COMMANDS[name]
    assert (ROOT / f"examples/{script}.py").exists() or name == "serve"
    assert importlib.import_module(f"hamur.{module}")


def test_a_command_gives_the_exit_code_of_its_function(tmp_path, capsys):
    assert_refused(capsys, ["--out is missing"], main, ["synthetic"])
    out = str(tmp_path / "ml")
    assert main(["synthetic", "--dataset", "ml-1m", "--rows", "100", "--out", out]) == 0
    assert (tmp_path / "ml/ratings.dat").exists()


@pytest.mark.slow
def test_a_wheel_trains_and_scores_in_an_empty_folder(tmp_path):
    """Built from the archive of the sources, as `python -m build` does, and installed elsewhere."""
    pytest.importorskip("setuptools", reason="builds the wheel; python -m pip install setuptools")
    sources, built, installed = (tmp_path / name for name in ("sources", "built", "installed"))
    work = tmp_path / "work"
    work.mkdir()

    def pip(command: str, *words: Path | str) -> None:
        flags = ("--disable-pip-version-check", "-q", "--no-deps", *map(str, words))
        done = python("-m", "pip", command, *flags, folder=work)
        assert done.returncode == 0, done.stderr

    egg = ("egg_info", "--egg-base", str(tmp_path))
    archive = ("-q", "sdist", "--dist-dir", str(built))
    assert python("setup.py", *egg, *archive, folder=ROOT).returncode == 0
    pip("wheel", "--no-build-isolation", "-w", sources, *built.glob("*.tar.gz"))
    pip("install", "--target", installed, *sources.glob("*.whl"))
    assert (installed / "bin/hamur").exists()

    def hamur(*words: str) -> subprocess.CompletedProcess:
        command = [str(installed / "bin/hamur"), *words]
        environment = {**os.environ, "GLOG_v": "3", "PYTHONPATH": str(installed)}
        how = dict(cwd=work, env=environment, capture_output=True, text=True, timeout=300)
        return subprocess.run(command, **how)

    place = "import hamur; print(hamur.__file__)"
    assert str(installed) in python("-c", place, folder=work, PYTHONPATH=str(installed)).stdout
    rows = [f"u{n % 30},i{n * n % 9},{('NL', 'FR')[n % 2]},{n * n % 101 % 2}" for n in range(600)]
    (work / "clicks.csv").write_text("\n".join(["user_id,item_id,country,click", *rows]) + "\n")
    flags = ("--label", "click", "--domain", "country", "--epochs", "1", "--save_dir", "run")
    done = hamur("train", "--table", "clicks.csv", "--model_name", "mlp_adp", *flags)
    assert done.returncode == 0, done.stderr
    done = hamur("predict", "--run", "run", "--input", "clicks.csv", "--output", "scores.csv")
    assert done.returncode == 0, done.stderr
    assert len((work / "scores.csv").read_text().splitlines()) == 601


def test_without_the_samples_a_load_names_the_remedy(tmp_path, monkeypatch):
    from hamur.data.movielens import load

    monkeypatch.setattr(load, "SAMPLE", tmp_path / "ml-1m-sample")
    with pytest.raises(FileNotFoundError, match="ml-1m-sample comes with the repository only"):
        load.load_movielens()
