"""Options in a JSON file, for --config."""

import dataclasses
import reprlib
import typing
from pathlib import Path

from hamur.config import OF_A_CALL, check_field, plain_type
from hamur.files import read_json


def options_in(path: str | Path) -> dict:
    """The options of a file by their names there: its content, or, of the config.json of a run and
    the best.json of a search, its "options" but those of the call that wrote them.

    Raises:  FileNotFoundError; DataFormatError: no JSON object.
    """
    content = read_json(path, remedy="write one JSON object of options for --config")
    if not isinstance(content.get("options"), dict):
        return content
    return {name: value for name, value in content["options"].items() if name not in OF_A_CALL}


def read_options(path: str | Path, config_class: type) -> dict:
    """The options of a file for a configuration, by the names of its fields.

    Raises:  FileNotFoundError; ValueError: no JSON object, a key that is no flag, a value that its
        flag does not allow; names file and key.
    """
    types, fields = typing.get_type_hints(config_class), {}
    for field in filter(lambda field: field.init, dataclasses.fields(config_class)):  # flags
        fields |= dict.fromkeys((field.name, *field.metadata["aliases"]), field)
    options = {}
    for name, value in options_in(path).items():
        if name not in fields:
            dead = name in getattr(config_class, "dead_keys", ())
            dead = " It had no effect in the public code; remove it." if dead else ""
            raise ValueError(
                f"--config {path}: unknown key {reprlib.repr(name)}.{dead} "
                f"Known: {', '.join(fields)}."
            )
        field = fields[name]
        if value is None:  # resolved later, as without the flag
            continue
        try:
            options[field.name] = _value(field, value)
            check_field(field, plain_type(types[field.name]), options[field.name])
        except ValueError as error:
            raise ValueError(f"--config {path}: {error}") from None
    preset = {}
    if getattr(config_class, "presets_refuse_flags", False):
        # The config.json of a run has what its preset resolved to, and what a flag may not say.
        preset = config_class.presets[options.get("preset", fields["preset"].default)]
    return {name: value for name, value in options.items() if value != preset.get(name)}


def _value(field: dataclasses.Field, value):
    """A value of JSON as its flag makes it: names are a tuple."""
    parse, synonyms = field.metadata["parse"], field.metadata["synonyms"]
    if isinstance(value, str):
        return synonyms.get(value, value) if parse is None else parse(value)
    if parse is None:
        return value
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    raise ValueError(f"--{field.name} must be text or a list of texts, got {reprlib.repr(value)}.")
