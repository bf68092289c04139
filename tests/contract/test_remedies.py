"""Whatever the texts of the package name exists, in the spelling of the door the user came through.

The command line's own modules write flags, `--x`.  The library writes arguments between backticks,
`x` or `x=value`, which `hamur.commands.script.as_flags` turns into flags.
"""

import ast
import importlib
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import hamur
from hamur.commands.script import OPTION, RENAMED, as_flags
from hamur.config import CommonOptions
from tests.support.flags import SCRIPTS, distinct_flags, help_of

ROOT = Path(hamur.__file__).parents[1]
MODULES = sorted((ROOT / "hamur").rglob("*.py"))
DOORS = ("hamur/commands", "hamur/studies", "hamur/config.py")  # of the command line
FLAG = r"(?<![\w-])--(?:no-)?([a-z]\w+)"
STATED = r"^(?:\{[^}]*\}[: ]+)?([a-z]\w*) (?:is|must|has) "  # 'split is {split}; use one of ...'


def text_of(node: ast.AST) -> str | None:
    """The text of a literal, an f-string or a sum of them; placeholders are {expression}."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr():
            return "".join(text_of(part) for part in node.values)
        case ast.FormattedValue():
            return f"{{{ast.unparse(node.value)}}}"
        case ast.BinOp(op=ast.Add()):
            parts = [text_of(node.left), text_of(node.right)]
            return "".join(part or "{}" for part in parts) if any(parts) else None
    return None


def messages(tree: ast.AST):
    """(line, text) of all that may be a part of a message: no docstrings, no help of flags."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.Expr(value=ast.Constant()):
                continue
            case ast.Call(func=function) if ast.unparse(function).endswith("flag"):
                continue
            case ast.FormattedValue():
                yield from messages(node)
            case _ if (text := text_of(node)) is not None:
                yield node.lineno, text
            case _:
                yield from messages(node)


@dataclass(frozen=True)
class Package:
    """flags: of all scripts; arguments: of all public functions, methods and dataclasses."""

    texts: dict = field(default_factory=dict)
    flags: set = field(default_factory=set)
    arguments: set = field(default_factory=set)


@pytest.fixture(scope="module")
def package():
    found = Package()
    for flags in distinct_flags([help_of(script) for script in SCRIPTS]):
        found.flags.update(name.lstrip("-") for name in flags)
    for path in MODULES:
        tree, name = ast.parse(path.read_text()), path.relative_to(ROOT).as_posix()
        for line, text in messages(tree):
            if " " in text.strip() and text.strip()[0] not in "<:":  # markup and styles are none
                found.texts[f"{name}:{line}"] = " ".join(text.split())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                found.arguments.update(argument.arg for argument in arguments)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.arguments.add(node.target.id)
    assert len(found.texts) > 400 and len(found.flags) > 150
    return found


def of_library(place: str) -> bool:
    return not place.startswith(DOORS)


def assert_none(wrong) -> None:
    wrong = list(wrong)
    assert not wrong, "\n".join(wrong)


def test_every_flag_that_a_text_names_is_one_of_a_script(package):
    assert_none(
        f"{place}: no script has --{name}: {text}"
        for place, text in package.texts.items()
        for name in re.findall(FLAG, text)
        if name not in package.flags | {"name", "no"}  # how flags are written in general
    )


def test_the_library_names_no_flag(package):
    assert_none(
        f"{place}: an argument as `name=value`, which a script shows as a flag: {text}"
        for place, text in package.texts.items()
        if of_library(place) and re.search(FLAG, re.sub(r"\w+\.py( --\w+ (\w+|{.*?}))+", "", text))
    )


def test_every_argument_that_the_library_names_is_one_and_has_a_flag(package):
    """A flag of its own name; or it is an alternative, which scripts without the flag leave out."""
    wrong = []
    for place, text in package.texts.items():
        for match in re.finditer(OPTION, text):
            whole, name, _ = match.groups()
            if name not in package.arguments:
                wrong.append(f"{place}: no argument {name!r}: {text}")
            flag = RENAMED.get(whole, RENAMED.get(name, name)).split()[0]
            if flag not in package.flags and not re.search(rf" or [^,.;`]*{OPTION}", text):
                wrong.append(f"{place}: no script has --{flag}: {text}")
    assert_none(wrong)


def test_the_library_marks_every_argument(package):
    """What looks like one, `name=`, `long_name` or the subject of 'is', and is a flag, stands
    between backticks."""
    wrong = []
    for place, text in package.texts.items():
        if not of_library(place):
            continue
        plain = re.sub(r"\{[^}]*\}", "{}", re.sub("`[^`]*`", "", text))
        names = re.findall(r"(?<![\w.{-])([a-z]+(?:_[a-z]+)+)(?![\w.(<])", plain)
        names += re.findall(r"(?<![\w.{])([a-z]\w*)=", plain) + re.findall(STATED, plain)
        names = [name for name in names if name in package.flags]
        if names:
            wrong.append(f"{place}: {', '.join(names)}: {text}")
    assert_none(wrong)


def test_every_script_and_module_that_a_text_names_exists(package):
    commands = {script.stem for script in SCRIPTS}
    targets = re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text())
    wrong = []
    for place, text in package.texts.items():
        for name in re.findall(r"(?<!\w)((?:run_|prepare_|make_)\w+)(?=\.py|\s+--|`)", text):
            wrong += [f"{place}: no script {name}: {text}"] * (name not in commands)
        for name in re.findall(r"(?<!\w)make ([a-z-]+)(?= in | runs|`)", text):
            wrong += [f"{place}: no target {name}: {text}"] * (name not in targets)
        for name in re.findall(r"(?<![\w./])((?:data|examples)/[\w.]+|requirements\.txt)", text):
            wrong += [f"{place}: no file {name}: {text}"] * (not (ROOT / name).exists())
        for name in re.findall(r"hamur(?:\.\w+)+", text):
            module, _, attribute = name.rpartition(".")
            try:
                importlib.import_module(name)
            except ImportError:
                if not hasattr(importlib.import_module(module), attribute):
                    wrong.append(f"{place}: no {name}: {text}")
    assert_none(wrong)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("allow more with `max_bad_fraction`", "allow more with --max_bad_fraction"),
        ("`on_bad_rows='skip'`", "--on_bad_rows skip"),
        ("`Trainer.weight_decay` is 3", "--weight_decay is 3"),
        ("`dataset_path=('a', 'b')`", "--dataset_path a,b"),
        ("use more rows, or `min_count=1`.", "use more rows."),
        ("drop the column or `seed=False`", "drop the column or --no-seed"),
        ("1 or 2, `vocab={3: 0, 4: 1}`", "1 or 2, --fit_on 3=0,4=1"),
        ("`dataset_path='Fee (EUR)'`", "--dataset_path 'Fee (EUR)'"),
        ("no `word` of ours", "no `word` of ours"),
    ],
)
def test_arguments_become_flags(text, shown):
    assert as_flags(text, CommonOptions) == shown
