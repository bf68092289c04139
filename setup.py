"""Install with `pip install -e .`; extras: serve (FastAPI), onnx (ONNX Runtime), search (Optuna),
track (TensorBoard's files), test (pytest, hypothesis, ruff, and these four), bench (PyTorch).
"""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent


def requirements() -> list[str]:
    """The lines of requirements.txt without comments: the bounds stand in one place only."""
    lines = (line.split("#")[0].strip() for line in (HERE / "requirements.txt").open())
    return [line for line in lines if line]


def long_description() -> str:
    """The README, where there is one (a build from a partial copy may lack it)."""
    readme = HERE / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


class SourceArchive(sdist):
    """With requirements.txt, which this file reads when a wheel is built from the archive."""

    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, [*files, "requirements.txt"])


# The server's; pydantic 2.8 is the first that stops at the first bad row.
SERVE = ["fastapi>=0.110", "uvicorn>=0.29", "prometheus-client>=0.20", "pydantic>=2.8,<3"]
# The first with wheels for Python 3.12; with NumPy 1.26 as well.
ONNX = ["onnx>=1.16", "onnxruntime>=1.17"]
SEARCH = ["optuna>=4"]
TRACK = ["tensorboardX>=2.6"]
TEST = ["pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100", "ruff>=0.6", "httpx>=0.27"]

setup(
    name="hamur",
    version="0.1.0",
    description="Multi-domain recommendation with MindSpore: HAMUR and its backbones, reproduced",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    author="The HAMUR for MindSpore authors",
    license="Apache-2.0",
    packages=find_packages(include=["hamur", "hamur.*"]),
    package_data={"hamur.kernels": ["*.cc", "*.h"]},
    entry_points={"console_scripts": ["hamur = hamur.commands.console:main"]},
    cmdclass={"sdist": SourceArchive},
    python_requires=">=3.10,<3.13",
    install_requires=requirements(),
    extras_require={
        "serve": SERVE,
        "onnx": ONNX,
        "search": SEARCH,
        "track": TRACK,
        "test": TEST + SERVE + ONNX + SEARCH + TRACK,
        "bench": ["torch>=2.1"],
    },
)
