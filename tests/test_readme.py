"""What the pages say holds: their code runs, what they name exists, and the README stays short."""

import contextlib
import functools
import importlib.util
import io
import os
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import sys
import unicodedata
import zipfile
from pathlib import Path

import pytest

from hamur.models.ranking import build

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
CHINESE = ROOT / "README.zh.md"  # the same: its code runs as README's
OWN_TABLE = ROOT / "examples/own_data.md"
FOLDERS = ("", "examples", "data", "hamur", "hamur/models", "tests/benchmarks")
PAGES = [page for folder in FOLDERS for page in sorted((ROOT / folder).glob("*.md"))]
WITH_PYTHON = (README, ROOT / "examples/README.md", ROOT / "hamur/README.md")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
# Few epochs on a small sample: phi gets few updates, CoNet may still predict a constant.
short = pytest.mark.filterwarnings("ignore:phi gets at most", "ignore:the model predicts a const")

CODE = re.compile(r"^```.*?^```$|`[^`]*`", re.DOTALL | re.MULTILINE)
PLACEHOLDER = re.compile(r"[<>{}*]|\.\.\.")
FOLDER = "examples|hamur|data|tests|commands|layers|metrics|models|reporting|studies|training"
OWN_PATH = re.compile(rf"(?<![\w/-])(?:{FOLDER})/[\w./<>{{}}*-]+")


def fenced(page: Path, language: str) -> list[str]:
    """The code blocks of a page in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def without_code(text: str) -> str:
    """The text without code and the targets of links."""
    return re.sub(r"\]\([^)]*\)|<http[^>]*>", "", CODE.sub("", text))


def commands(page: Path) -> list[str]:
    """Every `python examples/...` line of a page, without its comment."""
    lines = "".join(fenced(page, "")).replace("\\\n", " ").splitlines()
    return [line.split(" #")[0].strip() for line in lines if line.startswith("python examples/")]


def anchors(page: Path) -> set[str]:
    """The headings of a page as links write them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


def test_the_tests_that_pages_name_exist():
    names = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text())}
    sources = "".join(path.read_text() for path in ROOT.glob("tests/**/test_*.py"))
    assert names <= set(re.findall(r"^def (test_\w+)\(", sources, re.MULTILINE))


def columns(line: str) -> int:
    """The width of a line in a terminal: Chinese characters and punctuation take two columns."""
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in line)


@pytest.mark.parametrize("page", [README, CHINESE], ids=lambda page: page.name)
def test_the_readme_is_short(page):
    text = page.read_text()
    lines = text.splitlines()
    assert len(lines) <= 200
    assert len(text) <= 14_000
    assert [line for line in lines if columns(line) > 110 and not line.startswith("|")] == []
    numbers = re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?", without_code(text))
    assert len(numbers) <= 60


@short
def test_python_blocks_run(tmp_path, monkeypatch, tiny_schema, tiny_splits):
    """All of them as one program, from a folder of their own: later blocks use names of earlier."""
    blocks = [block for page in WITH_PYTHON for block in fenced(page, "python")]
    assert len(blocks) >= 6
    file = tmp_path / "pages.py"  # a file, because MindSpore compiles from the source text
    file.write_text("\n".join(blocks))
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("pages", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "pages", module)
    spec.loader.exec_module(module)
    assert (tmp_path / "runs/me/model.safetensors").exists()
    assert module.logits.shape == (5,)
    options = dict(preset="paper", config=None, seed=1, embed_dim=3, hidden_dims=(6, 5))
    model = build({"new": module.LinearAndDeep}, "new", tiny_schema, **options)
    assert module.trainer.fit(model, tiny_splits.train, tiny_splits.valid).epochs == 2


# Without those on a table of one's own, which run one after the other.
BUNDLED = [line for line in commands(README) if not re.search("path|--raw|--run", line)]
SMALL = {  # what is added to a command, so that it ends soon
    "run_aliexpress_multi_task": ["--epochs", "1", "--embed_dim", "8", "--no-posthoc"],
    "run_amazon_cross_domain": ["--epochs", "2", "--interval", "1"],
}


@short
@pytest.mark.slow
@pytest.mark.parametrize("line", BUNDLED)
def test_commands_on_bundled_data_run(line, tmp_path, monkeypatch, capsys):
    _, script, *options = shlex.split(line)
    options += SMALL[Path(script).stem]
    monkeypatch.setattr(sys, "argv", [script, *options])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert end.value.code == 0, capsys.readouterr().err
    assert len(list(tmp_path.rglob("metrics.json"))) == 1


def as_script(text: str, port: int) -> str:
    """The code blocks of a page in their order, for bash.  Without what is fetched; a server runs
    in the background, on this port, and what follows waits for it."""
    lines = ["set -e", "trap 'kill $(jobs -p)' EXIT"]
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        if language in ("python", "json"):
            target = {"python": "block.py", "json": "adult.json"}[language]
            lines += [f"cat > {target} << 'END OF BLOCK'", block + "END OF BLOCK"]
            lines += ["python block.py"] * (language == "python")
        elif language == "":
            block = re.sub(r"^curl .*https:.*$", "", block, flags=re.MULTILINE)
            if "hamur.serving" in block:
                block = re.sub(r"( --port \d+)?( *#.*)?$", rf" --port {port} &", block.rstrip())
                block += f"\nuntil curl -sf localhost:{port}/health; do sleep 1; done"
            lines.append(re.sub(r"localhost:\d+", f"localhost:{port}", block))
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="the page calls curl")
@pytest.mark.parametrize("page", [README, OWN_TABLE], ids=lambda page: page.name)
def test_the_pages_on_own_tables_run_as_printed(page, tmp_path):
    text = page.read_text()
    if page == README:
        text = text[text.index("## Your own table") : text.index("## Your own model")]
        text = text.replace("--label click", "--label click --epochs 1")
        (tmp_path / "path/to").mkdir(parents=True)
        rows = [
            f"u{n % 30},i{n * n % 9},{('NL', 'SE')[n % 2]},{n * n % 101 % 2}" for n in range(900)
        ]
        for name in ("clicks", "new"):
            table = "\n".join(["user_id,item_id,country,click", *rows])
            (tmp_path / f"path/to/{name}.csv").write_text(table + "\n")
    else:
        person = "38, Private, 21, HS-grad, 9, Divorced, Sales, Wife, White, Male, 0, 0, 40, Cuba, "
        with zipfile.ZipFile(tmp_path / "adult.zip", "w") as archive:
            archive.writestr("adult.data", person + "<=50K\n" + person + ">50K\n\n")
            archive.writestr("adult.test", "|1x3 Cross validator\n" + person + "<=50K.\n")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    how = dict(cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900)
    done = subprocess.run(["bash", "-c", as_script(text, port)], **how)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len((tmp_path / "scores.csv").read_text().splitlines()) > 900
    if page == OWN_TABLE:
        assert '"probabilities"' in done.stdout
        metrics = [p.parent.name for p in tmp_path.glob("runs/*/metrics.json")]
        assert sorted(metrics) == ["adult", "adult-dcn", "adult-tomorrow", "adult-two"]


@functools.cache
def flags_of(script: str, *given: str) -> set[str]:
    """Every flag that the help of a script names, after these."""
    text = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(text):
        patch.setattr(sys, "argv", [script, *given, "--help"])
        with pytest.raises(SystemExit):
            runpy.run_path(str(ROOT / script), run_name="__main__")
    return set(re.findall(r"--[\w-]+", text.getvalue()))


@every_page
def test_flags_of_commands_exist(page):
    for line in commands(page):
        words = line.split()
        of_a_family = ["--model_name", "pomoe"] if "pomoe" in words else []
        unknown = set(re.findall(r"--[\w-]+", line)) - flags_of(words[1], *of_a_family)
        assert not unknown, line


def test_readme_runs_every_system():
    assert {Path(shlex.split(line)[1]).stem for line in BUNDLED} == set(SMALL)


@every_page
def test_links_lead_somewhere(page):
    text = CODE.sub("", page.read_text())
    for target in re.findall(r"\]\(((?!http)[^)]+)\)", text):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@every_page
def test_named_files_exist(page):
    for path in OWN_PATH.findall(page.read_text()):
        path = path.rstrip(".-")
        if not PLACEHOLDER.search(path):
            assert any(
                (folder / path).exists() for folder in (ROOT, page.parent, ROOT / "hamur")
            ), path


@every_page
def test_named_modules_and_functions_exist(page):
    for name in re.findall(r"\bhamur(?:\.[A-Za-z_]\w*)+", page.read_text()):
        resolve(name)


def resolve(name: str):
    """The module or attribute of this dotted name."""
    parts = name.split(".")
    found = importlib.import_module(parts[0])
    for number, part in enumerate(parts[1:], 2):
        if not hasattr(found, part):
            importlib.import_module(".".join(parts[:number]))
        found = getattr(found, part)
    return found
