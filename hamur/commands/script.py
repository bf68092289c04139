"""What every command shares: flags, one-line errors and exit codes, the device, the folder of a
run."""

import argparse
import contextlib
import dataclasses
import difflib
import io
import logging
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
import traceback
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hamur import interrupts, workers
from hamur.commands import continuing
from hamur.commands.options_file import read_options
from hamur.config import RunOptions, check_extras, parse_device, plain_type
from hamur.files import locked, write_json
from hamur.reporting import results
from hamur.same_run import difference, finished, read_config

HEADINGS = ("table", "data", "model", "preferences and front", "training", "lower level")
HEADINGS += ("upper level", "evaluation", "encoding", "signal", "checks", "run")  # in --help
OPTION = r"`((?:[A-Z]\w*\.)?(\w+)(?:=([^`]*))?)`"  # an argument in a text of the library
# Arguments whose flag has another name.
RENAMED = {"num_experts": "expert_num", "check_statistics=False": "expect none", "form": "format"}
RENAMED |= {"separator": "sep", "variant": "arm", "harmful": "truth", "resamples": "bootstrap"}
RENAMED |= {"countries": "dataset_name", "valid": "valid_table", "test": "test_table"}
# What to do about a name that is taken by something of the other kind.
TAKEN = {IsADirectoryError: "a folder is where a file belongs; move it away, or name another place"}
TAKEN[FileExistsError] = "a file is where a folder belongs; move it away, or name another place"
TAKEN[NotADirectoryError] = TAKEN[FileExistsError]
AFTER_THE_FIRST = 3  # seconds until another worker than the first tells an error
INTERRUPTED = 130  # of a KeyboardInterrupt that no signal made
INTERNAL = (Exception,)  # errors that nobody foresaw; tests want them raised
# What a run writes beside RunFiles, config.json and metrics.json.
RESULTS = (*results.PREDICTIONS.values(), "learning_curve.png", "domains.png", "front.csv")
RESULTS += ("history.png", "test_probabilities.npy", "weights.csv", "weights_by_category.csv")
RESULTS += ("weights.png", "target_scorer.mindir", "front.png")
TRACK = "track"  # the folder of what --track writes
_NOT_GIVEN = object()  # a flag that the command line lacks
_held = contextlib.ExitStack()  # locks and settings of the command that runs


def from_flags(
    config_class: type,
    argv: Sequence[str] | None = None,
    description: str | None = None,
    **defaults,
):
    """Read a configuration from command-line flags (`sys.argv` if argv is None).

    `defaults` replace those of the class for this script, and are replaced by the file that
    --config names; `given` of the result are the options in that file and on the command line.
    Wrong usage ends the process with one line on stderr and exit code 2.
    """
    parser = make_parser(config_class, description, **defaults)
    fields = dataclasses.fields(config_class)
    blank = argparse.Namespace(**{field.name: _NOT_GIVEN for field in fields})
    values, unknown = parser.parse_known_args(argv, blank)
    if unknown:
        names = [name for field in told_fields(config_class) for name in spellings(field)]
        parser.error(_unknown(unknown[0], names))
    given = {name: value for name, value in vars(values).items() if value is not _NOT_GIVEN}
    try:
        if given.get("init_from") is not None:
            had = continuing.inherited(given["init_from"], config_class)
            continuing.check_unchanged(given["init_from"], given, had)
            given = had | given
        if given.get("config") is not None:
            given = read_options(given["config"], config_class) | given
        if workers.ROLE in os.environ:
            given = _of_worker(config_class, given)
        config = config_class(**(defaults | given))
        check_extras(config)
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")
    except ValueError as error:
        parser.error(as_flags(str(error), config_class))
    if hasattr(config, "given"):
        object.__setattr__(config, "given", frozenset(given))
    return config


def _of_worker(config_class: type, given: dict) -> dict:
    """The options of one of several workers, which is connected to the others: all but the first
    write to a folder that nobody sees.

    Raises:  ValueError: a command that trains no model.
    """
    if not issubclass(config_class, RunOptions):
        workers.refuse("this command")
    os.environ.setdefault("GLOG_v", "3")
    _set_device(given.get("device", "cpu"))
    if workers.rank() == 0:
        return given
    folder = _held.enter_context(tempfile.TemporaryDirectory(prefix="hamur-worker-"))
    unseen = dict(plot=False, save_predictions=False, track=False, record=None, exp_name=None)
    names = {field.name for field in told_fields(config_class)}
    unseen = {name: value for name, value in unseen.items() if name in names}
    return given | unseen | dict(save_dir=folder, quiet=True)


def make_parser(config_class: type, description: str | None, **defaults):
    """The parser of a configuration's flags."""
    parser = _Parser(
        description=description,
        usage="%(prog)s [flags]",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fields, types = told_fields(config_class), typing.get_type_hints(config_class)
    names = sorted({field.metadata["group"] for field in fields}, key=HEADINGS.index)
    groups = {name: parser.add_argument_group(name) for name in names}
    for field in fields:
        group = groups[field.metadata["group"]]
        default = defaults.get(field.name, field.default)
        plain = plain_type(types[field.name])
        text = _help(field, default, getattr(config_class, "presets", {}))
        options = dict(dest=field.name, default=default, help=text)
        options |= dict(type=_reader(field, plain), metavar=_metavar(field, plain))
        if plain is bool:
            options |= dict(type=_boolean, nargs="?", const=True, metavar="0|1")
            no = [f"--no-{name[2:]}" for name in spellings(field)]
            off = dict(action="store_false", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
            group.add_argument(*no, dest=field.name, **off)
        group.add_argument(*spellings(field), **options)
    return parser


def told_fields(config_class: type) -> list[dataclasses.Field]:
    """The fields of a configuration that have a flag: all but those of `hidden`."""
    return [field for field in dataclasses.fields(config_class) if field.init]


def spellings(field: dataclasses.Field) -> list[str]:
    """The flag of a field and its aliases."""
    return [f"--{name}" for name in (field.name, *field.metadata["aliases"])]


def _unknown(word: str, names: list[str]) -> str:
    """What to say of a word of the command line that is no flag and no flag's value."""
    if not word.startswith("-"):
        return f"{word!r} belongs to no flag; options are written as --name value."
    name = word.partition("=")[0]
    bare = [each.lstrip("-") for each in names]  # the dashes would make any two flags alike
    near = difflib.get_close_matches(name.lstrip("-"), bare, n=1)
    return f"no flag {name}; " + (f"did you mean --{near[0]}?" if near else "--help lists all.")


class _Parser(argparse.ArgumentParser):
    """Errors are one line, without the usage text: --help is one call away."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")  # paths may have lines


def _reader(field: dataclasses.Field, plain: type) -> Callable:
    parse = field.metadata["parse"]
    if parse is None:
        return plain

    def read(text: str):
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _boolean(text: str) -> bool:
    if text not in ("0", "1", "off", "on"):
        raise argparse.ArgumentTypeError(f"takes 0 or 1, got {text!r}")
    return text in ("1", "on")


def _metavar(field: dataclasses.Field, plain: type) -> str:
    if field.metadata["choices"] is None:
        return {int: "N", float: "X"}.get(plain, "TEXT")
    return "NAME"


def _help(field: dataclasses.Field, default, presets: Mapping[str, Mapping]) -> str:
    meta = field.metadata
    text = meta["help"]
    if meta["choices"] is not None:
        text += f"; one of {', '.join(meta['choices'])}"
    if isinstance(default, bool):
        return f"{text} (default: on; --no-{field.name} turns it off)" if default else text
    if default in (None, ()):
        default = meta["default_text"] or _by_preset(field.name, presets) or "none"
    return f"{text} (default: {default})"


def _by_preset(name: str, presets: Mapping[str, Mapping]) -> str:
    """The default of an option, named per preset where presets differ."""
    values = {preset: options[name] for preset, options in presets.items() if name in options}
    values = {k: int(v) if isinstance(v, bool) else v for k, v in values.items()}
    if len(set(values.values())) == 1:
        return str(next(iter(values.values())))
    return ", ".join(f"{preset} {value}" for preset, value in values.items())


def as_flags(text: str, config_class: type) -> str:
    """An error text of the library as the command line spells it.

    The library names an argument as `name` or `name=value`, between backticks; here that is the
    flag.  An alternative, which begins with 'or', is left out where it has none.
    """
    fields = told_fields(config_class)
    flags = {name[2:]: field.name for field in fields for name in spellings(field)}
    flags |= {name: flag for name, flag in RENAMED.items() if flag.split()[0] in flags}

    def alternative(match: re.Match) -> str:
        return match[0] if flags.keys() & {match[1], match[2]} else ""

    def flag(match: re.Match) -> str:
        whole, name, value = match.groups()
        if whole in flags or name not in flags:
            return f"--{flags[whole]}" if whole in flags else match[0]
        if value in (None, "True", "False"):
            return f"--{'no-' if value == 'False' else ''}{flags[name]}"
        if re.fullmatch("'[^']*'", value):  # one text, as the name of a column with spaces
            return f"--{flags[name]} {shlex.quote(value[1:-1])}"
        plain = re.sub(r"[(){}' ]", "", value).replace(":", "=").rstrip(",")
        return f"--{flags[name]} {plain or value}"

    return re.sub(OPTION, flag, re.sub(rf",? or [^,.;`]*{OPTION}[^,.;`]*", alternative, text))


def command(
    script: str,
    config,
    work: Callable[[], object],
    resume_hint: str = "--resume continues where it stopped",
    compiles: bool = True,
) -> int:
    """Call work(), and turn its errors into one line on stderr; returns the exit code: 0 when
    results are on disk, 1 for a defect of this package, 2 for wrong usage or data, 3 for a training
    that diverged, 130 after SIGINT (Ctrl-C), 143 after SIGTERM.

    config: its `debug` raises errors with their traceback; texts name its flags, see `as_flags`.
    resume_hint: printed after a signal.  compiles: whether MindSpore may run, see `interrupts.run`.
    """
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's C++ log, unless the user wants it
    if isinstance(config, RunOptions) and not config.verify:
        _held.callback(os.environ.update, HAMUR_VERIFY=os.environ.get("HAMUR_VERIFY", "on"))
        os.environ["HAMUR_VERIFY"] = "off"  # of `hamur.data.cache`, also in processes of this one
    name = Path(script).name
    if workers.rank() > 0:
        name += f", worker {workers.rank()}"
        _held.enter_context(contextlib.redirect_stdout(io.StringIO()))
        warnings.simplefilter("ignore")
    if getattr(config, "search", 0):
        resume_hint = "the same command continues the search"
    interrupted = f"{name}: interrupted; {resume_hint}"

    def spelled(text: object) -> str:
        return as_flags(" ".join(str(text).split()), type(config))

    def told(text: str) -> None:
        if workers.rank() > 0:  # the first one may end for the same reason, and msrun all others
            time.sleep(AFTER_THE_FIRST)
        print(text, file=sys.stderr)

    long_format = warnings.formatwarning
    warnings.formatwarning = lambda text, *_, **__: f"warning: {spelled(text)}\n"
    to_terminal = logging.StreamHandler()
    to_terminal.setLevel(logging.WARNING if workers.rank() == 0 else logging.CRITICAL)
    to_terminal.format = lambda record: f"warning: {spelled(record.getMessage())}"
    logging.getLogger("hamur").addHandler(to_terminal)
    try:
        interrupts.run(work, name, interrupted, compiles)
    except KeyboardInterrupt as stop:
        print(interrupted, file=sys.stderr)
        return getattr(stop, "exit_code", INTERRUPTED)
    except (ValueError, OSError) as error:
        if config.debug:
            raise
        text = re.sub(r"^\[Errno -?\d+\] ", "", str(error))  # a number of the operating system
        text += f"; {TAKEN[type(error)]}" if type(error) in TAKEN else ""
        told(f"{name}: error: {spelled(text)}")
        return getattr(error, "exit_code", 2)
    except INTERNAL as error:
        if config.debug:
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        text = next(iter(str(error).strip().splitlines()), "no text")
        where = f"{place.filename}:{place.lineno}"
        text = f"{type(error).__name__}: {text} ({where}); --debug shows the traceback"
        told(f"{name}: internal error: {text}")
        return 1
    finally:
        release()
        warnings.formatwarning = long_format
        logging.getLogger("hamur").removeHandler(to_terminal)
    return 0


def release() -> None:
    """Give back the locks and settings of the command that runs, and close its files."""
    _held.close()


def select_device(text: str) -> None:
    """Compile for this device.  ValueError if the installed MindSpore cannot serve it."""
    import mindspore as ms

    if workers.ROLE not in os.environ:  # else it was chosen before they were connected
        _set_device(text)
    ms.set_context(mode=ms.GRAPH_MODE)


def _set_device(text: str) -> None:
    import mindspore as ms

    target, card = parse_device(text)
    logging.disable(logging.ERROR)  # MindSpore logs missing libraries at length; we say it below
    try:
        ms.set_device(target, card) if card is not None else ms.set_device(target)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"--device {text}: the installed MindSpore {ms.__version__} cannot use {target} on "
            "this machine. Use --device cpu, or install MindSpore with the device's drivers as "
            "https://www.mindspore.cn/install describes."
        ) from error
    finally:
        logging.disable(logging.NOTSET)


def check_folder(
    folder: Path, description: dict, resume: bool, overwrite: bool, last: Path | None = None
) -> bool:
    """ValueError if a run of this description must not be written to the folder.

    It must not where another run is to be resumed, or a finished one without its state; or, unless
    `overwrite`, where an unfinished run or the results of another one would be lost.  last: where
    its state is, by default `folder`/last.  Returns whether there is one.
    """
    from hamur.training.checkpoint import PROGRESS

    path, resumable = folder / "config.json", ((last or folder / "last") / PROGRESS).exists()
    if resume:
        remedy = "choose another --save_dir, or --overwrite it, without --resume"
        if path.exists() and (different := difference(read_config(path, remedy), description)):
            raise ValueError(f"--resume: the run in {folder} had {different}.")
        lost = "config.json" if resumable and not path.exists() else None
        lost = "state" if not resumable and (folder / "metrics.json").exists() else lost
        if lost is not None:
            raise ValueError(
                f"--resume: the run in {folder} has lost its {lost}; --overwrite begins anew."
            )
    elif not overwrite:
        remedy = "choose another --save_dir, or --overwrite it"
        content = finished(folder, description, remedy=remedy)
        if content is None and resumable:
            if not path.exists():
                raise ValueError(f"{folder}: the run has lost its config.json; {remedy}.")
            raise ValueError(
                f"{folder} holds an unfinished run; --resume continues it, --overwrite begins anew."
            )
    return resumable


def open_run(
    config, description: dict, model, say: Callable, files=None, schema=None, **further
) -> dict:
    """Lock the folder of a run that begins or continues and write its config.json, and what turns
    raw rows into inputs of the model, see `model_folder`; returns and prints the parameter counts.

    files: RunFiles, by default those of the folder; schema, with encoders: by default the model's;
    further: entries of schema.json.

    A run that begins removes what an earlier one wrote, metrics.json first and config.json last, so
    that no configuration ever stands beside the results of another one.
    Raises:  ValueError: see `check_folder`, the state to resume is damaged, or another process
        writes to the folder.
    """
    from hamur import model_folder, models
    from hamur.training.checkpoint import RunFiles, load_state

    folder = Path(config.save_dir)
    files = RunFiles.of(folder) if files is None else files
    _held.enter_context(locked(folder))
    how = (config.resume, config.overwrite, files.last)
    resumable = check_folder(folder, description, *how)
    if config.resume and resumable:
        load_state(files.last)  # a damaged one is refused before the results are removed
    (folder / "metrics.json").unlink(missing_ok=True)  # its presence means: this run is complete
    if not (config.resume and resumable):
        files.clear()
        for place in (folder, files.weights.parent):
            for name in RESULTS:
                (place / name).unlink(missing_ok=True)
        shutil.rmtree(folder / TRACK, ignore_errors=True)
    model_folder.remove(folder)
    write_json(folder / "config.json", description)
    further |= {"model": config.model_name}
    further["takes_preferences"] = getattr(model, "takes_preferences", False)
    model_folder.write(folder, model.schema if schema is None else schema, **further)
    counts = models.parameter_counts(model)
    say(
        f"{config.model_name}, preset {config.preset}: {counts['parameters']:,} parameters and "
        f"{counts['embedding_parameters']:,} in embeddings"
    )
    return counts


def trainer_options(config, *after_epoch: Callable) -> dict:
    """The options of a resolved configuration that `Trainer` has under the same name, and its
    hooks: that of --track, and these."""
    from hamur import training
    from hamur.reporting.track import Track

    names = {field.name for field in dataclasses.fields(training.Trainer)}
    options = {name: value for name, value in vars(config).items() if name in names}
    if config.track and config.save_dir is not None:
        track = Track(Path(config.save_dir) / TRACK, config.learning_rate)
        _held.callback(track.close)
        after_epoch = (track, *after_epoch)
    return options | {"after_epoch": after_epoch}


def make_trainer(config, step: Callable, after_epoch: tuple[Callable, ...] = (), **settings):
    """The Trainer of a resolved configuration; `settings` are added, or replace its options."""
    from hamur import training

    return training.Trainer(step, **(trainer_options(config, *after_epoch) | settings))


def train_block(run) -> dict:
    """How the training went, for metrics.json."""
    block = {
        "epochs": run.epochs,
        "best_epoch": run.best_epoch,
        "rows_per_second": round(run.rows_per_second, 1),
        "seconds": round(run.seconds, 3),
        "peak_rss_mib": results.peak_rss_mib(),
    }
    marks = ("interrupted", "worse_than_constant")
    return block | {name: True for name in marks if getattr(run, name)}


def stop_if_interrupted(run) -> None:
    """KeyboardInterrupt, for the exit code, when all that an interrupted training gives is done."""
    if run.interrupted:
        raise KeyboardInterrupt
