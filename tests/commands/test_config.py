"""Flags: the public names, clear errors of one line, and --help as documentation."""

import dataclasses
import math
import os
import re
import typing
import warnings
from dataclasses import dataclass

import pytest

from hamur.commands import ranking, script
from hamur.commands.cross_domain_config import CrossDomainConfig
from hamur.commands.make_synthetic import SyntheticConfig
from hamur.commands.multi_task_config import TaskConfig
from hamur.commands.own_table import RankingTable, TaskTable
from hamur.commands.prepare_data import PrepareConfig
from hamur.commands.ranking import RankingConfig
from hamur.commands.script import command, from_flags, make_parser, spellings
from hamur.config import check_fields, flag, parse_device, plain_type, shared
from hamur.layers import adapter_config
from hamur.studies.ablation import AblationConfig
from hamur.studies.fronts import StudyConfig
from hamur.studies.planted import PlantedConfig
from tests.support.commands import assert_refused, exit_code

PUBLIC = {
    "dataset_path": "x", "model_name": "dcn_md", "epoch": 7, "learning_rate": 0.01,
    "batch_size": 40960, "weight_decay": 0.0, "device": "cpu", "save_dir": "y", "seed": 5,
}  # fmt: skip


def flags(*argv: str, **defaults) -> RankingConfig:
    return from_flags(RankingConfig, list(argv), "a script", **defaults)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_flags_are_accepted_unchanged(name):
    value = getattr(flags(f"--{name}", str(PUBLIC[name])), {"epoch": "epochs"}.get(name, name))
    assert value == PUBLIC[name] and type(value) is type(PUBLIC[name])


def test_no_flags_equal_the_dataclass_defaults():
    assert flags() == RankingConfig()


@pytest.mark.parametrize(
    ("argv", "value"), [((), "on"), (("--verify", "off"), "off"), (("--no-verify",), "off")]
)
def test_caches_are_verified_unless_a_flag_switches_it_off(argv, value, monkeypatch):
    monkeypatch.setenv("HAMUR_VERIFY", "on")
    seen = []
    work = lambda: seen.append(os.environ["HAMUR_VERIFY"])  # noqa: E731
    assert command("script.py", flags(*argv), work, compiles=False) == 0
    assert seen == [value] and os.environ["HAMUR_VERIFY"] == "on"


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
        (["--decay", "both"], ["--decay is 'both'", "coupled", "decoupled"]),
        (["--device", "tpu"], ["--device is 'tpu'", "cpu, gpu and ascend"]),
        (["--epoch", "0"], ["--epochs must be at least 1, got 0"]),
        (["--batch_size", "1"], ["--batch_size must be at least 2, got 1"]),
        (["--learning_rate", "0"], ["--learning_rate must be greater than 0, got 0"]),
        (["--learning_rate", "nan"], ["--learning_rate must be greater than 0, got nan"]),
        (["--weight_decay", "-1"], ["--weight_decay must be at least 0, got -1"]),
        (["--averaging", "1"], ["--averaging must be less than 1, got 1"]),
        (["--epoch", "many"], ["--epoch", "'many'"]),
        (["--epocs", "1"], ["no flag --epocs; did you mean --epoch"]),
        (["--epocs=1"], ["no flag --epocs; did you mean --epoch"]),
        (["--quiet", "2"], ["--quiet", "takes 0 or 1, got '2'"]),
        (["--zzz"], ["no flag --zzz; --help lists all."]),
        (["mlp_adp"], ["'mlp_adp' belongs to no flag"]),
        (["--seed"], ["--seed"]),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(argv, texts, capsys):
    assert_refused(capsys, texts, flags, *argv)


def test_help_describes_every_flag(capsys):
    assert exit_code(flags, "--help") == 0
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
    assert left == of_data | {"config", "match_parameters"}


@pytest.mark.parametrize(
    ("rows", "expected"), [(10, 64), (897, 63), (6_400, 256), (65_536, 4096), (65_537, 4095)]
)
def test_few_rows_get_small_batches_unless_told(rows, expected):
    assert RankingConfig(preset="paper").resolved("s", rows).batch_size == expected
    assert RankingConfig(batch_size=999).resolved("s", rows).batch_size == 999


def test_help_tells_a_default_per_preset_where_presets_differ():
    text = " ".join(make_parser(RankingConfig, None).format_help().split())
    assert "16 steps (default: paper 4096, official 4096, best 2048)" in text
    assert "decoupled decay (default: 1e-05)" in text


def test_every_preset_answers_every_option_that_is_left_to_it():
    assert list(ranking.PRESETS) == list(adapter_config.PRESETS)
    for options in ranking.PRESETS.values():
        assert list(options) == list(ranking.OFFICIAL)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("cpu", ("CPU", None)), ("gpu", ("GPU", None)), ("cuda:0", ("GPU", 0))]
    + [("ascend", ("Ascend", None)), ("Ascend:2", ("Ascend", 2)), ("npu:1", ("Ascend", 1))],
)
def test_device_spellings(text, expected):
    assert parse_device(text) == expected


def test_a_flag_needs_a_help_text_and_a_group():
    for field in dataclasses.fields(RankingConfig):
        assert field.metadata["help"] and field.metadata["group"]
        resolved = field.metadata["default_text"] or field.name in ranking.OFFICIAL
        assert (field.default is None) == bool(resolved) or field.name in ("drop",)


def test_a_defect_is_one_line_too_and_the_exit_code_1(capsys, monkeypatch):
    monkeypatch.setattr(script, "INTERNAL", (Exception,))

    def defect():
        raise RuntimeError("\nout of memory\nat 0x7f")

    assert command("folder/x.py", RankingConfig(), defect) == 1
    place = rf"{re.escape(__file__)}:\d+"
    line = rf"x.py: internal error: RuntimeError: out of memory \({place}\); --debug shows .*\n"
    assert re.fullmatch(line, capsys.readouterr().err)
    with pytest.raises(RuntimeError):
        command("x.py", RankingConfig(debug=True), defect)


def test_an_error_of_the_system_is_the_file_and_what_it_says(capsys, tmp_path):
    assert command("x.py", RankingConfig(), (tmp_path / "no").read_bytes) == 2
    assert capsys.readouterr().err == f"x.py: error: No such file or directory: '{tmp_path}/no'\n"


def test_errors_and_warnings_of_a_command_are_one_line_each(capsys):
    long_format = warnings.formatwarning

    def odd():
        assert warnings.formatwarning("odd", UserWarning, "f.py", 3) == "warning: odd\n"
        raise ValueError("too\nodd")

    def interrupt():
        raise KeyboardInterrupt

    assert command("folder/x.py", RankingConfig(), odd) == 2
    assert capsys.readouterr().err == "x.py: error: too odd\n"
    assert command("x.py", RankingConfig(), interrupt, resume_hint="start it again") == 130
    assert capsys.readouterr().err == "x.py: interrupted; start it again\n"
    with pytest.raises(ValueError, match="odd"):
        command("x.py", RankingConfig(debug=True), odd)
    assert warnings.formatwarning is long_format


@dataclass(frozen=True)
class Options:
    epochs: int = shared("epochs", 3)
    plain: bool = flag(False, "a switch", group="model", aliases=("simple",))
    bound: bool | None = flag(None, "by preset", group="model", default_text="by preset")
    preset: str = flag(
        "best", "a choice", group="model", choices=("best", "official"),
        synonyms={"published": "official"},
    )  # fmt: skip

    def __post_init__(self):
        check_fields(self)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], Options(epochs=3, plain=False, bound=None)),
        (["--epoch", "5"], Options(epochs=5)),
        (["--plain"], Options(plain=True)),
        (["--simple", "1", "--bound", "0"], Options(plain=True, bound=False)),
        (["--simple", "--no-simple"], Options()),
        (["--bound", "--preset", "published"], Options(bound=True, preset="official")),
    ],
)
def test_aliases_switches_and_synonyms(argv, expected):
    assert from_flags(Options, argv) == expected


def test_what_a_configuration_shares_keeps_the_rules_of_its_flag():
    with pytest.raises(ValueError, match="--epochs must be at least 1, got 0"):
        Options(epochs=0)


CONFIGURATIONS = {
    ranking.RankingConfig: (),
    TaskConfig: (),
    RankingTable: (),
    TaskTable: (),
    CrossDomainConfig: (),
    PrepareConfig: ("--raw", "x", "--out", "y"),
    SyntheticConfig: ("--out", "y"),
    AblationConfig: (),
    StudyConfig: (),
    PlantedConfig: (),
}
NUMBERS = [
    (config, field.name, spelling, plain)
    for config in CONFIGURATIONS
    for field in dataclasses.fields(config)
    if (plain := plain_type(typing.get_type_hints(config)[field.name])) in (int, float)
    for spelling in spellings(field)
]


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e999"])
def test_no_numeric_flag_takes_what_is_not_finite(value, capsys):
    assert len(NUMBERS) > 150
    for config, name, spelling, _ in NUMBERS:
        flags = [*CONFIGURATIONS[config], f"{spelling}={value}"]
        assert_refused(capsys, [f"--{name}"], from_flags, config, flags, "a script")


def test_no_number_of_a_configuration_in_python_is_infinite_or_text():
    for config, name, _, plain in NUMBERS:
        given = dict(zip(("raw", "out"), CONFIGURATIONS[config][1::2]))
        if config is SyntheticConfig:
            given = {"out": "y"}
        for value in (math.inf, math.nan, "3", True):
            with pytest.raises(ValueError, match=f"--{name} must be .*, got "):
                config(**given, **{name: value})
        if plain is int:
            with pytest.raises(ValueError, match=f"--{name} must be a whole number, got 2.5"):
                config(**given, **{name: 2.5})


@pytest.mark.parametrize("name", ["dirichlet_alpha", "ideal"])
@pytest.mark.parametrize("value", ["1,inf", "nan,1", "1,-inf"])
def test_lists_of_numbers_are_finite_too(name, value):
    with pytest.raises(ValueError, match=f"--{name} is '{value}'; give numbers such as"):
        TaskConfig(**{name: value})


@pytest.mark.parametrize("content", ['{"lr": Infinity}', '{"lr": NaN}', '{"lr": "fast"}'])
def test_a_file_of_options_obeys_the_rules_of_the_flags(content, tmp_path, capsys):
    (tmp_path / "options.json").write_text(content)
    flags = ["--config", str(tmp_path / "options.json")]
    assert exit_code(from_flags, CrossDomainConfig, flags) == 2
    assert re.search(r"--learning_rate must be|options.json", capsys.readouterr().err)
