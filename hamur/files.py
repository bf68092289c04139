"""Files that appear whole or not at all."""

import contextlib
import csv
import errno
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import IO, get_args
from urllib.parse import quote

import numpy as np

from hamur.errors import DataFormatError

try:
    import fcntl
except ImportError:  # Windows: no locks
    fcntl = None

_KINDS = {dict: "object", list: "list", str: "text", int: "whole number", float: "number"}
_KINDS |= {bool: "truth value", type(None): "null"}
SEAL = "sha256"
_LONGEST_NAME = 180
Form = type | tuple | list | dict  # see `misfit`


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, which takes its place, on the disk, if the block succeeds.

    Raises:  OSError: with the name of the file, such as of a full disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.touch()
    mode = temporary.stat().st_mode
    try:
        yield temporary
        os.chmod(temporary, mode)  # some writers make their files private
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        if error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


_locked = set()  # folders, by this process


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes that ask out of a folder, which is made if missing, and remove what a
    killed one was writing.  This process may ask again.

    Raises:  ValueError: another process is in it.
    """
    folder = Path(folder).resolve()
    if folder in _locked:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    try:
        file = lock(path)
    except BlockingIOError as holder:
        raise ValueError(
            f"{folder}: process {holder} is writing to this folder; wait for its end, or choose "
            "another `save_dir`."
        ) from None
    _locked.add(folder)
    try:
        for place in (folder, folder / "last"):
            for left in place.glob(".tmp??????"):  # safetensors' own, of a killed process
                left.unlink(missing_ok=True)
            for left in place.glob(".*.tmp"):
                if left.suffixes[-2:-1] and left.suffixes[-2][1:].isdigit():  # see `replacing`
                    left.unlink(missing_ok=True)
        yield
    finally:
        _locked.remove(folder)
        path.unlink(missing_ok=True)
        file.close()


def lock(path: Path) -> IO[str]:
    """A file that this process has locked, and whose content is its number; closing it, or the end
    of the process whatever its cause, frees the lock.

    Raises:  BlockingIOError: another one has locked it; the text is its number.
    """
    while True:
        file = open(path, "a+", encoding="ascii")  # noqa: SIM115
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                file.seek(0)
                raise BlockingIOError(file.read()) from None
        # The one that had it may have removed it meanwhile.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(file.fileno())):
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
                return file
        file.close()


def file_name(name: str) -> str:
    """What a file of a field is called, without suffix: no two fields share it, whatever their
    names are, and it is in the folder where it is put."""
    quoted = quote(name, safe=" ")
    if len(quoted) <= _LONGEST_NAME:  # of which a Chinese character takes 9
        return quoted
    return f"{quoted[:_LONGEST_NAME]} {hashlib.sha256(name.encode()).hexdigest()[:32]}"


def write_text(path: Path, text: str) -> None:
    """Text in UTF-8, with a newline at its end."""
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def write_json(path: Path, content: Mapping, sealed: bool = False, to_edit: bool = False) -> None:
    """Indented JSON.  NaN and infinity are errors: nothing but Python would read them.

    sealed: with a checksum, which `read_json` compares and leaves out.
    to_edit: letters as they are, not as escapes; no text may be half of a surrogate pair.
    """
    content = {**content, SEAL: _seal(content)} if sealed else content
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=not to_edit))


def _seal(content: Mapping) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_json(
    path: Path,
    form: type | dict = dict,
    remedy: str = "remove the file, or restore it from a copy",
    error: type[DataFormatError] = DataFormatError,
) -> dict:
    """The JSON object in a file, which must be of a form, see `misfit`.

    Raises:  OSError; `error`, of one line with the place: another encoding, no JSON, a key twice, a
        number that is no finite one or has more than 64 bits, another form, another seal.
    """
    path = Path(path)
    try:
        content = json.loads(
            path.read_bytes().decode("utf-8"),
            parse_constant=_finite,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_unique,
        )
        json.dumps(content, ensure_ascii=False).encode()  # half of a surrogate pair cannot be told
    except json.JSONDecodeError as wrong:
        problem, line = f"no JSON object: {wrong.msg} at column {wrong.colno}", wrong.lineno
    except UnicodeError as wrong:
        problem, line = f"no UTF-8: {wrong.reason} at position {wrong.start:,}", None
    except RecursionError:
        problem, line = "no JSON object of ours: it is nested too deep", None
    except ValueError as wrong:
        problem, line = str(wrong), None
    else:
        problem, line = misfit(content, dict), None
        problem = misfit(content, form) if problem is None else f"no JSON object: {problem}"
        if problem is None and content.pop(SEAL, None) not in (None, _seal(content)):
            problem = "the content has changed since it was written"
        if problem is None:
            return content
    raise error(problem, file=path, line=line, remedy=remedy)


def _whole(text: str) -> int:
    if len(text) > 20 or (value := int(text)).bit_length() > 64:
        raise ValueError(f"the number {text[:24]} has more than 64 bits")
    return value


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"the number {text[:24]} is not finite")
    return value


def _unique(pairs: list[tuple]) -> dict:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return values


def read_numpy(path: Path, remedy: str) -> np.ndarray | dict[str, np.ndarray]:
    """The array of a .npy file, or those of a .npz file by name.

    Raises:  OSError; DataFormatError: no such file, pickled objects.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    try:
        loaded = np.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    except Exception as error:  # of a zip file alone, seven modules raise their own
        problem = f"no NumPy file: {' '.join(str(error).split()) or type(error).__name__}"
        raise DataFormatError(problem, file=path, remedy=remedy) from None


def misfit(value, form: Form, place: str = "") -> str | None:
    """What of a JSON value is not of a form, in words; None where all is.

    form: a type (float: any number); a tuple of forms of which one fits; [form] for a list; {name:
    form} for an object that has at least these keys, where the name `str` is any further one.
    """
    if isinstance(form, UnionType):  # of a dataclass
        form = get_args(form)
    if isinstance(form, tuple):
        found = [misfit(value, each, place) for each in form]
        return None if None in found else found[0]
    kind, place = form if isinstance(form, type) else type(form), place or "the content"
    fits = (int, float) if kind is float else kind
    if not isinstance(value, fits) or (isinstance(value, bool) and kind is not bool):
        shown = json.dumps(value)
        return f"{place} is {shown if len(shown) <= 40 else shown[:37] + '...'}, no {_KINDS[kind]}"
    inner = []
    if isinstance(form, list):
        inner = [(f"{place}[{number}]", each, form[0]) for number, each in enumerate(value)]
    elif isinstance(form, dict):
        if missing := [name for name in form if name is not str and name not in value]:
            return f"{place} lacks {missing[0]!r}"
        inner = [
            (f"{place}.{name}", each, form.get(name, form.get(str)))
            for name, each in value.items()
            if name in form or str in form
        ]
    problems = (misfit(each, its, where.removeprefix("the content.")) for where, each, its in inner)
    return next(filter(None, problems), None)


def write_history(path: Path, rows: Sequence[Mapping]) -> None:
    """history.csv: one line per epoch; the header names every key that occurs, gaps stay empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def sync(path: Path) -> None:
    """Waits until a file or a folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
