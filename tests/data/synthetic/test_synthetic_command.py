"""examples/make_synthetic.py as a command."""

import pytest

from hamur.commands import make_synthetic
from hamur.commands.make_synthetic import main_synthetic
from hamur.data import synthetic
from hamur.data.synthetic.amazon import PLANTS


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_are_written_and_a_folder_in_use_is_left_alone(tmp_path, capsys):
    flags = ["--dataset", "ml-1m", "--rows", "400", "--out", str(tmp_path / "made")]
    assert main_synthetic("x.py", "", flags) == 0
    assert "no row is real" in capsys.readouterr().out
    before = contents(tmp_path)
    assert {"ratings.dat", "users.dat", "movies.dat"} <= {path.name for path in before}
    other = ["--dataset", "ali-ccp", "--rows", "100", *flags[4:]]
    assert main_synthetic("x.py", "", other) == 2
    assert "made is not empty; choose another folder" in capsys.readouterr().err
    assert contents(tmp_path) == before
    assert main_synthetic("x.py", "", [*flags, "--overwrite"]) == 0
    assert contents(tmp_path) == before  # same arguments, same bytes


def test_the_folder_has_to_be_named(capsys):
    with pytest.raises(SystemExit) as ended:
        main_synthetic("x.py", "", ["--dataset", "ml-1m"])
    assert ended.value.code == 2 and "--out is missing" in capsys.readouterr().err


def test_the_choices_of_the_flags_are_those_of_the_generators():
    assert tuple(synthetic.GENERATORS) == make_synthetic.DATASETS
    assert make_synthetic.PLANTS == PLANTS
