"""Flags: the public names, clear errors of one line, and --help as documentation."""

import dataclasses
import warnings

import pytest

from hamur import config
from hamur.commands import ranking_config
from hamur.commands.ranking_config import RankingConfig
from hamur.commands.script import run_script
from hamur.config import from_flags, parse_device

PUBLIC = {
    "--dataset_path": ("x", "x"),
    "--model_name": ("dcn_md", "dcn_md"),
    "--epoch": ("7", 7),
    "--learning_rate": ("1e-2", 0.01),
    "--batch_size": ("40960", 40960),
    "--weight_decay": ("0", 0.0),
    "--device": ("cpu", "cpu"),
    "--save_dir": ("y", "y"),
    "--seed": ("5", 5),
}


def flags(*argv: str, **defaults) -> RankingConfig:
    return from_flags(RankingConfig, list(argv), "a script", **defaults)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_flags_are_accepted_unchanged(name):
    text, value = PUBLIC[name]
    read = getattr(flags(name, text), name[2:])
    assert read == value and type(read) is type(value)


def test_no_flags_equal_the_dataclass_defaults():
    assert flags() == RankingConfig()


def test_defaults_of_a_script_replace_those_of_the_class():
    assert flags(model_name="mlp", plot=True).model_name == "mlp"
    assert flags("--no-plot", plot=True).plot is False
    assert flags("--model_name", "wd_md", model_name="mlp").model_name == "wd_md"


@pytest.mark.parametrize(
    ("argv", "texts"),
    [
        (["--model_name", "mmlp"], ["--model_name is 'mmlp'", "mlp_adp", "wd_md_adp"]),
        (["--preset", "papers"], ["--preset is 'papers'", "paper", "official", "best"]),
        (["--criterion", "f1"], ["--criterion is 'f1'", "auc", "macro_auc", "worst_auc"]),
        (["--schedule", "linear"], ["--schedule is 'linear'", "cosine"]),
        (["--decay", "both"], ["--decay is 'both'", "coupled", "decoupled"]),
        (["--device", "tpu"], ["--device is 'tpu'", "cpu, gpu and ascend"]),
        (["--epoch", "0"], ["--epoch must be at least 1, got 0"]),
        (["--batch_size", "1"], ["--batch_size must be at least 2, got 1"]),
        (["--learning_rate", "0"], ["--learning_rate must be greater than 0, got 0"]),
        (["--learning_rate", "nan"], ["--learning_rate must be greater than 0, got nan"]),
        (["--weight_decay", "-1"], ["--weight_decay must be at least 0, got -1"]),
        (["--averaging", "1"], ["--averaging must be less than 1, got 1"]),
        (["--epoch", "many"], ["--epoch", "'many'"]),
        (["--epochs", "1"], ["no flag --epochs; did you mean --epoch?"]),
        (["--epochs=1"], ["no flag --epochs; did you mean --epoch?"]),
        (["--zzz"], ["no flag --zzz; --help lists all."]),
        (["mlp_adp"], ["'mlp_adp' belongs to no flag"]),
        (["--seed"], ["--seed"]),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(argv, texts, capsys):
    with pytest.raises(SystemExit) as stop:
        flags(*argv)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.endswith("\n")
    for text in texts:
        assert text in error


def test_help_describes_every_flag(capsys):
    with pytest.raises(SystemExit) as stop:
        flags("--help")
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(RankingConfig):
        assert f"--{field.name}" in text
    assert "a script" in text and "wd_md_adp" in text and "(default: 2022)" in text


def test_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RankingConfig().seed = 1


def test_construction_in_python_is_checked_too():
    with pytest.raises(ValueError, match=r"--model_name is 'x'; known are mlp, mlp_adp"):
        RankingConfig(model_name="x")


def test_resolved_touches_only_what_is_none():
    config = RankingConfig(preset="paper", learning_rate=0.5, init_seed=3, seed=4)
    resolved = config.resolved("a_script", 10**6)
    assert (resolved.learning_rate, resolved.init_seed, resolved.split_seed) == (0.5, 3, 2022)
    assert (resolved.weight_decay, resolved.decay, resolved.batch_size) == (1e-5, "coupled", 4096)
    assert (resolved.embedding_decay, resolved.averaging) == (1e-5, 0.0)
    assert RankingConfig(weight_decay=0.0).resolved("s", 9).embedding_decay == 0.0
    assert resolved.save_dir == "runs/a_script/mlp_adp-4"
    left = {f.name for f in dataclasses.fields(resolved) if getattr(resolved, f.name) is None}
    of_data = {"dataset_path", "split", "genres", "multi", "pool_weight", "drop"}
    assert left == of_data


@pytest.mark.parametrize(
    ("rows", "expected"), [(10, 64), (897, 63), (6_400, 256), (65_536, 4096), (65_537, 4095)]
)
def test_few_rows_get_small_batches_unless_told(rows, expected):
    assert RankingConfig(preset="paper").resolved("s", rows).batch_size == expected
    assert RankingConfig(batch_size=999).resolved("s", rows).batch_size == 999


def test_help_tells_a_default_per_preset_where_presets_differ(monkeypatch):
    tuned = ranking_config.PUBLISHED | {"learning_rate": 0.02}
    monkeypatch.setitem(ranking_config.TRAINING, "best", tuned)
    assert ranking_config._by_preset("learning_rate") == "paper 0.001, official 0.001, best 0.02"
    assert ranking_config._by_preset("weight_decay") == "1e-05"


def test_every_preset_answers_every_option_that_is_left_to_it():
    for options in ranking_config.TRAINING.values():
        assert list(options) == list(ranking_config.PUBLISHED)


def test_every_preset_says_how_it_trains():
    from hamur.layers.adapter_config import PRESETS

    assert list(ranking_config.TRAINING) == list(PRESETS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpu", ("CPU", None)),
        ("gpu", ("GPU", None)),
        ("cuda:0", ("GPU", 0)),
        ("ascend", ("Ascend", None)),
        ("Ascend:2", ("Ascend", 2)),
        ("npu:1", ("Ascend", 1)),
    ],
)
def test_device_spellings(text, expected):
    assert parse_device(text) == expected


def test_a_flag_needs_a_help_text_and_a_group():
    for field in dataclasses.fields(RankingConfig):
        assert field.metadata["help"] and field.metadata["group"]
        assert (field.default is None) == (field.metadata["default_text"] is not None)
    assert config.__doc__ and ranking_config.__doc__


def test_a_script_says_warnings_and_errors_in_one_line_each(monkeypatch, capsys):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # put back afterwards

    def work(config, name):
        raise ValueError("too\nodd")

    assert run_script(RankingConfig, work, "folder/x.py", "", []) == 2
    assert capsys.readouterr().err == "x.py: error: too odd\n"
    assert warnings.formatwarning("odd", UserWarning, "f.py", 3) == "warning: odd\n"
