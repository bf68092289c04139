"""The command behind examples/export_model.py: a run -> a folder that serves it."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from hamur.commands.script import command, from_flags
from hamur.config import REQUIRED, check_fields, comma_separated, run_flag, shared
from hamur.files import sync, write_json, write_text

REQUEST, EXAMPLES = "request.json", 3  # rows of it
CLOSE = 1e-5  # of a graph's scores to the run's
README = """\
The model {name}, exported from a run of hamur.

    import hamur
    model = hamur.load("this folder")          # MindIR, or ONNX (pip install 'hamur[onnx]')
    model.predict([{{"column": "value", ...}}])  # raw rows; request.json has some and their scores

graph.*         the network: {inputs} -> probability
schema.json     fields, labels and domains; checksums
columns.json    what the columns of raw rows are
encoders/       values and their ids, ranges of numbers, domains
request.json    example rows with their scores; without "probabilities" a body of POST /predict
"""


@dataclass(frozen=True)
class ExportConfig:
    """What can be told of an export."""

    run: str | None = run_flag(None, "folder of a run", default_text=REQUIRED)
    out: str | None = run_flag(None, "folder to write", default_text=REQUIRED)
    format: tuple[str, ...] = run_flag(
        ("mindir",), "graphs to write, of mindir,onnx, comma separated", parse=comma_separated
    )
    overwrite: bool = run_flag(False, "replace an earlier export in --out")
    quiet: bool = shared("quiet")
    debug: bool = shared("debug")

    def __post_init__(self):
        check_fields(self)
        if not self.format or not set(self.format) <= {"mindir", "onnx"}:
            raise ValueError(f"--format is {','.join(self.format)}; use mindir, onnx or both.")


def export_folder(run, out, formats: Sequence[str] = ("mindir",), overwrite: bool = False) -> Path:
    """Write what serves a run's model; returns the folder, which appears whole or not at all.

    Raises:  as `hamur.load` and `hamur.training.export`; ValueError: the folder holds something
        else, or, unless `overwrite`, an export; OSError.
    """
    import hamur
    from hamur import model_folder, training
    from hamur.trained_model import load_run, predictor_of, score_rows

    out = Path(out).expanduser()
    if Path(run, REQUEST).exists():
        raise ValueError(f"{run} is an exported model; name the `run` that it is of.")
    _check_target(out, overwrite)
    model, schema, about = load_run(run)
    name = f".{out.name}.{os.getpid()}"
    temporary, replaced = (out.absolute().with_name(f"{name}{end}") for end in (".tmp", ".old"))
    temporary.mkdir(parents=True)
    try:
        graphs = [temporary / f"{model_folder.GRAPH}.{name}" for name in sorted({*formats})]
        training.export(model, *graphs)  # mindir before onnx
        own = {"format", "package", "schema", "files"}
        further = {name: value for name, value in about.items() if name not in own}
        model_folder.write(temporary, schema, **further)
        request = {"rows": [schema.encoders.example(place) for place in range(EXAMPLES)]}
        expected = predictor_of(schema, partial(score_rows, model), about).predict(request["rows"])
        for name in formats:
            found = hamur.load(temporary, name).predict(request["rows"])
            if not np.allclose(found, expected, rtol=0, atol=CLOSE):
                raise ValueError(f"{out}: the {name} graph gives {found}, the run {expected}.")
        content = request | {"probabilities": expected.tolist()}
        write_json(temporary / REQUEST, content, to_edit=True)
        inputs = ", ".join(model.serving_graph().names)
        write_text(temporary / "README.txt", README.format(name=about["model"], inputs=inputs))
        if out.exists():
            os.replace(out, replaced)
        os.replace(temporary, out)
        sync(out.absolute().parent)
    finally:
        if replaced.exists() and not out.exists():  # the second renaming failed
            os.replace(replaced, out)
        for folder in (temporary, replaced):
            shutil.rmtree(folder, ignore_errors=True)
    return out


def _check_target(out: Path, overwrite: bool) -> None:
    """Raises ValueError for what must not be replaced."""
    held = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if out.exists() and (not out.is_dir() or (held and REQUEST not in held)):
        raise ValueError(f"{out} holds something else, such as {(*held, out.name)[0]}.")
    if held and not overwrite:
        raise ValueError(f"{out} holds an export; choose another `out`, or `overwrite=True`.")


def main_export(script: str, description: str, argv: Sequence[str] | None = None) -> int:
    """Export with the flags of argv (`sys.argv` if None); the exit code."""
    config = from_flags(ExportConfig, argv, description)

    def work():
        out = export_folder(config.run, config.out, config.format, config.overwrite)
        if not config.quiet:
            print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}")

    return command(script, config, work, "nothing was written")
