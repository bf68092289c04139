"""The command behind examples/prepare_data.py."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hamur.commands.script import command, from_flags
from hamur.config import REQUIRED, CommonOptions, check_fields, data_flag, run_flag, shared
from hamur.data import cache
from hamur.data.detect import DATASETS
from hamur.data.streaming.prepare import prepare
from hamur.data.streaming.statistics import as_table
from hamur.data.text import download
from hamur.data.text.bad_rows import Policy


@dataclass(frozen=True)
class PrepareOptions:
    """What can be told of the preparation of any data set; see `PrepareConfig`."""

    dataset: str = data_flag("ali-ccp", "the data set", choices=DATASETS)
    raw: str | None = data_flag(
        None, "folder of the raw files", default_text=REQUIRED, aliases=("dataset_path",)
    )
    out: str | None = data_flag(
        None, "folder of the cache, absent or complete at any time", default_text=REQUIRED
    )
    on_bad_rows: str = shared("on_bad_rows")
    max_bad_fraction: float = shared("max_bad_fraction")
    max_line_mib: int = shared("max_line_mib")
    allow_leakage: tuple[str, ...] = shared("allow_leakage", group="encoding")
    download: bool = data_flag(False, "ml-1m: fetch it from its official address into --raw first")
    zip: str | None = data_flag(None, "ml-1m: unpack this archive into --raw first")
    expect: str | None = data_flag(
        None,
        "ml-1m: none does not compare a complete file with the published counts",
        choices=("none",),
        default_text="compare",
    )
    workers: int | None = run_flag(
        None, "jobs at a time", at_least=1, default_text="by size and cores, up to 4"
    )
    overwrite: bool = run_flag(False, "replace a cache of other files or options")
    verify: bool = run_flag(False, "check every byte of the finished cache")
    quiet: bool = shared("quiet", help="no progress bars")
    debug: bool = shared("debug")

    def __post_init__(self):
        check_fields(self)


def flag_name(field: dataclasses.Field) -> str:
    """The flag of an option of a data set, which has another name in its Options if public code
    calls it otherwise there."""
    common = CommonOptions.__dataclass_fields__
    return next((name for name in field.metadata["aliases"] if name in common), field.name)


# {data set: {flag: field of its Options}}
DATA_SET_FLAGS = {
    name: {flag_name(f): f for f in dataclasses.fields(dataset.options) if "help" in f.metadata}
    for name, dataset in DATASETS.items()
}


def _shown(field: dataclasses.Field) -> str:
    default = field.default
    text = ",".join(default) if isinstance(default, tuple) else str(default)
    return field.metadata["default_text"] or text


def _merged(flag: str) -> tuple[str, type, dataclasses.Field]:
    """For `make_dataclass`: a flag of one or several data sets, by default None."""
    fields = {name: flags[flag] for name, flags in DATA_SET_FLAGS.items() if flag in flags}
    first = next(iter(fields.values()))
    choices = [choice for field in fields.values() for choice in field.metadata["choices"] or ()]
    metadata = {
        **first.metadata,
        "help": f"{', '.join(fields)}: {first.metadata['help']}",
        "choices": list(dict.fromkeys(choices)) or None,
        "aliases": [name for name in {first.name, *first.metadata["aliases"]} if name != flag],
        "default_text": None,
    }
    return flag, first.type | None, dataclasses.field(default=None, metadata=metadata)


PrepareConfig = dataclasses.make_dataclass(
    "PrepareConfig",
    [
        _merged(flag)
        for flag in dict.fromkeys(f for flags in DATA_SET_FLAGS.values() for f in flags)
    ],
    bases=(PrepareOptions,),
    namespace={
        "__doc__": "Raw files -> a cache that the training scripts take as --dataset_path.",
        "presets": {
            name: {flag: _shown(field) for flag, field in flags.items()}
            for name, flags in DATA_SET_FLAGS.items()
        },
    },
    frozen=True,
)


def data_set_options(config):
    """The data set's own Options; ValueError for a flag that it does not have."""
    flags, kind = DATA_SET_FLAGS[config.dataset], DATASETS[config.dataset].options
    names = {field.name for field in dataclasses.fields(kind)}
    options = {"policy": Policy(config.on_bad_rows, config.max_bad_fraction, config.max_line_mib)}
    for flag in {flag for others in DATA_SET_FLAGS.values() for flag in others}:
        if (value := getattr(config, flag)) is not None:
            if flag not in flags:
                raise ValueError(f"--{flag} does not apply to --dataset {config.dataset}.")
            options[flags[flag].name] = value
    if config.expect is not None:
        if "check_statistics" not in names:
            raise ValueError(f"--expect does not apply to --dataset {config.dataset}.")
        options["check_statistics"] = False
    if "allow_leakage" in names:
        options["allow_leakage"] = config.allow_leakage
    return kind(**options)


def fetch(config) -> Path:
    """The folder of the raw files, which --download and --zip fill.

    Raises:  ValueError: for another data set; says what to fetch by hand.
    """
    raw = Path(config.raw).expanduser()
    if not (config.download or config.zip):
        return raw
    if config.dataset != "ml-1m":
        raise ValueError(download.instructions(config.dataset, raw))
    if config.zip:
        return download.extract(Path(config.zip).expanduser(), raw / "ml-1m")
    return download.download_ml1m(raw, quiet=config.quiet)


def prepare_data(config) -> None:
    """Prepare, and print the statistics that stats.json holds."""
    prepared = prepare(
        DATASETS[config.dataset],
        fetch(config),
        config.out,
        data_set_options(config),
        config.workers,
        config.quiet,
        config.overwrite,
        config.allow_leakage,
    )
    if config.verify:
        cache.open_cache(prepared.folder, verify=True)
    done, reused = prepared.jobs_done, prepared.jobs_reused
    jobs = f" ({done} jobs done, {reused} done before)" if done else ""
    print(f"{as_table(prepared.stats)}\n\n{prepared.folder}{jobs}")


def main_prepare(script: str, description: str, argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 when the cache is complete."""
    config = from_flags(PrepareConfig, argv, description)
    resume_hint = "the same command continues after the last finished part"
    work = partial(prepare_data, config)
    return command(script, config, work, resume_hint, compiles=False)
