"""The shared library of the kernels: compiled by g++ at first use, then kept in the user's cache
folder."""

import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mindspore as ms

SOURCES = sorted(Path(__file__).parent.glob("*.cc"))
HEADERS = sorted(Path(__file__).parent.glob("*.h"))
# No errno and no traps from sqrt: else its loop is not vectorised.
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math")
FLAGS += ("-fopenmp-simd", "-fPIC", "-pthread")
VARIABLE = "HAMUR_KERNELS"
logger = logging.getLogger(__name__)


def enabled() -> bool:
    """Whether layers use the fused kernels: on a CPU, if the library is there or can be built."""
    return ms.get_context("device_target") == "CPU" and library() is not None


@functools.cache
def library() -> Path | None:
    """The compiled library, or None where there is none; a failure to build it is logged once.

    Raises:  ValueError: HAMUR_KERNELS is neither "fused" nor "plain".
    """
    wanted = os.environ.get(VARIABLE, "fused")
    if wanted not in ("fused", "plain"):
        raise ValueError(f"{VARIABLE} is {wanted!r}; valid values are fused, plain.")
    if wanted == "plain" or platform.system() != "Linux":
        return None
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        logger.warning("no C++ compiler (g++) was found: training runs without the fused kernels.")
        return None
    try:
        path = cache_folder() / f"fused-{fingerprint(compiler)}.so"
        return path if path.exists() else compiled(compiler, path)
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None) or str(error)
        logger.warning(
            "the fused kernels could not be built, training runs without them: %s",
            detail.strip().splitlines()[0],
        )
        return None


def cache_folder() -> Path:
    """hamur/kernels in the user's cache folder, made if it is missing."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(root) / "hamur" / "kernels"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def fingerprint(compiler) -> str:
    """Of all that decides the library: sources, compiler, flags and processor."""
    digest = hashlib.sha256()
    for path in (*SOURCES, *HEADERS):
        digest.update(path.read_bytes())
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout
    cpu = Path("/proc/cpuinfo")
    features = next((x for x in cpu.read_text().splitlines() if x.startswith("flags")), "")
    digest.update(version + " ".join((*FLAGS, features, platform.machine())).encode())
    return digest.hexdigest()[:16]


def run(compiler, *arguments) -> None:
    command = [compiler, *FLAGS, *map(str, arguments)]
    subprocess.run(command, capture_output=True, check=True, text=True)


def compiled(compiler, path) -> Path:
    """Compile to a name of its own and rename: processes that start together do not meet."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        objects = [Path(folder) / f"{source.stem}.o" for source in SOURCES]
        with ThreadPoolExecutor() as pool:  # each command is a process of its own
            commands = zip(SOURCES, objects, strict=True)
            list(pool.map(lambda pair: run(compiler, "-c", pair[0], "-o", pair[1]), commands))
        run(compiler, "-shared", *objects, "-o", made)
        os.replace(made, path)
    return path
