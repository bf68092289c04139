"""Options of a run: a frozen dataclass whose fields are the command-line flags, help included.

The only argparse of the repository.  Another family of scripts subclasses or writes a dataclass
of `flag` fields and calls `from_flags` with it.
"""

import argparse
import dataclasses
import difflib
import re
import typing
from collections.abc import Callable, Iterable, Sequence
from functools import partial

Names = Iterable[str] | Callable[[], Iterable[str]]

STEPS_PER_EPOCH = 16  # a small data set gets smaller batches rather than one step an epoch
SMALLEST_BATCH = 64


def flag(
    default,
    help: str,
    *,
    group: str,
    choices: Names | None = None,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    default_text: str | None = None,
):
    """A dataclass field that is also a command-line flag of the same name.

    A bool field with default False is a switch.  `choices` may be a function, called when needed,
    so that a dict of models stays the only list of their names.  None is always allowed and means
    'resolved later'; `default_text` then tells the reader to what.
    """
    metadata = dict(help=help, group=group, choices=choices, default_text=default_text)
    metadata |= dict(at_least=at_least, above=above, below=below)
    return dataclasses.field(default=default, metadata=metadata)


# Headings of --help.
data_flag, model_flag, training_flag, run_flag = (
    partial(flag, group=heading) for heading in ("data", "model", "training", "run")
)


def fitting_batch(batch_size: int, train_rows: int) -> int:
    """`batch_size`, halved until an epoch has STEPS_PER_EPOCH steps, or SMALLEST_BATCH; then
    lowered while a last batch would hold a single row, which has no batch statistics."""
    while batch_size > SMALLEST_BATCH and batch_size * STEPS_PER_EPOCH > train_rows:
        batch_size //= 2
    while train_rows > batch_size and train_rows % batch_size == 1:
        batch_size -= 1
    return batch_size


def check_fields(config) -> None:
    """ValueError if a `flag` field of a configuration is not what its flag allows."""
    for field in dataclasses.fields(config):
        _check(field, getattr(config, field.name))
    if hasattr(config, "device"):
        parse_device(config.device)


def parse_device(text: str) -> tuple[str, int | None]:
    """MindSpore's name of a device and the card's number, if given: 'npu:1' -> ('Ascend', 1)."""
    targets = {"cpu": "CPU", "gpu": "GPU", "cuda": "GPU", "ascend": "Ascend", "npu": "Ascend"}
    match = re.fullmatch(r"([a-z]+)(?::(\d+))?", text.lower())
    if not match or match[1] not in targets:
        raise ValueError(
            f"--device is {text!r}; known are cpu, gpu and ascend, with a card as in ascend:1."
        )
    return targets[match[1]], int(match[2]) if match[2] else None


def from_flags(
    config_class: type,
    argv: Sequence[str] | None = None,
    description: str | None = None,
    **defaults,
):
    """Read a configuration from command-line flags (`sys.argv` if argv is None).

    `defaults` replace those of the class for this script.  Wrong usage ends the process with one
    line on stderr and exit code 2.
    """
    parser = _Parser(
        description=description,
        usage="%(prog)s [flags]",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fields, types = dataclasses.fields(config_class), typing.get_type_hints(config_class)
    names = dict.fromkeys(field.metadata["group"] for field in fields)
    groups = {name: parser.add_argument_group(name) for name in names}
    for field in fields:
        default = defaults.get(field.name, field.default)
        options = {"default": default, "help": _help(field, default)}
        if types[field.name] is bool:
            options["action"] = argparse.BooleanOptionalAction if default else "store_true"
        else:
            options["type"] = _plain_type(types[field.name])
            options["metavar"] = _metavar(field, options["type"])
        groups[field.metadata["group"]].add_argument(f"--{field.name}", **options)
    values, unknown = parser.parse_known_args(argv)
    if unknown:
        parser.error(_unknown(unknown[0], [f"--{field.name}" for field in fields]))
    try:
        return config_class(**vars(values))
    except ValueError as error:
        parser.error(str(error))


def _unknown(word: str, known: list[str]) -> str:
    """What to say of a word of the command line that is no flag and no flag's value."""
    if not word.startswith("-"):
        return f"{word!r} belongs to no flag; options are written as --name value."
    name = word.partition("=")[0]
    near = difflib.get_close_matches(name, known, n=1)
    return f"no flag {name}; " + (f"did you mean {near[0]}?" if near else "--help lists all.")


class _Parser(argparse.ArgumentParser):
    """Errors are one line, without the usage text: --help is one call away."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: error: {message}\n")


def _names(field: dataclasses.Field) -> list[str] | None:
    choices = field.metadata["choices"]
    return None if choices is None else list(choices() if callable(choices) else choices)


def _plain_type(annotation) -> type:
    """int of `int | None`."""
    return next(t for t in (*typing.get_args(annotation), annotation) if t is not type(None))


def _metavar(field: dataclasses.Field, plain: type) -> str:
    if field.metadata["choices"] is None:
        return {int: "N", float: "X", str: "TEXT"}[plain]
    return "NAME"


def _help(field: dataclasses.Field, default) -> str:
    meta = field.metadata
    text = meta["help"]
    if meta["choices"] is not None:
        text += f"; one of {', '.join(_names(field))}"
    if isinstance(default, bool):
        return text
    return f"{text} (default: {meta['default_text'] if default is None else default})"


def _check(field: dataclasses.Field, value):
    if value is None:
        return
    meta, name = field.metadata, f"--{field.name}"
    if meta["choices"] is not None and value not in (names := _names(field)):
        raise ValueError(f"{name} is {value!r}; known are {', '.join(names)}.")
    if meta["at_least"] is not None and not value >= meta["at_least"]:
        raise ValueError(f"{name} must be at least {meta['at_least']}, got {value}.")
    if meta["above"] is not None and not value > meta["above"]:
        raise ValueError(f"{name} must be greater than {meta['above']}, got {value}.")
    if meta["below"] is not None and not value < meta["below"]:
        raise ValueError(f"{name} must be less than {meta['below']}, got {value}.")
