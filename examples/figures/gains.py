"""What joint training and the adapter gain in every domain.

    python examples/figures/gains.py age=runs/age gender=runs/gender     # prints the tables
    python examples/figures/gains.py                                     # draws gains.png

A folder holds runs as `compare_models.py` leaves them, MODEL-SEED/metrics.json.  The figure is
drawn from the tables in examples/RESULTS.md, where own_share.py gave the column "own share".
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hamur.reporting.compare import compare

MODELS = ("domain_feature", "mlp", "mlp_adp", "dcn_md", "dcn_md_adp", "wd_md", "wd_md_adp")
BACKBONES = {"mlp": "o", "dcn_md": "s", "wd_md": "^"}
COLORS = ("#1b6ca8", "#d1495b", "#3a7d44", "#edae49", "#6d597a", "#444444")
CONTROL = "single_domain"
FEWEST = 200  # test rows of a domain in the figure


def runs_of(folder: Path, model: str) -> dict[int, dict]:
    """The content of metrics.json by seed."""
    found = [json.loads(path.read_text()) for path in folder.glob(f"{model}-[0-9]*/metrics.json")]
    return {each["seed"]: each["test"] for each in found}


def names_of(folder: Path) -> list[str]:
    """Of the domains."""
    schema = json.loads(next(folder.glob(f"{CONTROL}-*/schema.json")).read_text())
    return schema["schema"]["domain_names"]


def by_domain(folder: Path, model: str, domain: str) -> dict[int, float]:
    """The AUC of a domain by seed, where it is defined."""
    found = {seed: test["domains"][domain] for seed, test in runs_of(folder, model).items()}
    return {seed: each["auc"] for seed, each in found.items() if each["auc"] is not None}


def rows_of(folder: Path) -> dict[str, int]:
    """Test rows of the domains."""
    test = next(iter(runs_of(folder, CONTROL).values()))
    return {domain: entry["rows"] for domain, entry in test["domains"].items()}


def table(name: str, folder: Path) -> str:
    """Markdown: of every domain the AUC of a model of its own, and what joint ones gain on it."""
    lines = [f"| {name} | test rows | `{CONTROL}` | " + " | ".join(f"`{m}`" for m in MODELS) + " |"]
    lines.append("|---" * (3 + len(MODELS)) + "|")
    for (domain, rows), title in zip(rows_of(folder).items(), names_of(folder), strict=True):
        own = by_domain(folder, CONTROL, domain)
        cells = [f"{np.mean(list(own.values())):.4f}"] if own else ["-"]
        for model in MODELS:
            found = compare(own, by_domain(folder, model, domain))
            sure = "*" if found.verdict in ("above", "below") else ""
            cells.append(f"{found.difference:+.4f}{sure}" if found.count else "-")
        lines.append(f"| {title} | {rows:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(name: str, folder: Path) -> str:
    """Markdown: the AUC over all test rows, and what the adapters gain there."""
    auc = {
        model: {seed: test["auc"] for seed, test in runs_of(folder, model).items()}
        for model in (CONTROL, *MODELS)
    }
    cells = [name, "-"]
    for model in (CONTROL, "domain_feature", "mlp", "mlp_adp", "dcn_md", "wd_md"):
        cells.append(f"{np.mean(list(auc[model].values())):.4f}")
        if (backbone := model.removesuffix("_adp")) in BACKBONES and model != "mlp":
            found = compare(auc[backbone], auc[f"{backbone}_adp"])
            cells.append(f"{found.difference:+.4f} ({found.interval})")
    return "| " + " | ".join(cells) + " |"


def tables_of(text: str, first: str) -> list[list[list[str]]]:
    """The cells of the Markdown tables whose second heading is this."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    tables = [[line.strip("| \n").split(" | ") for line in each.splitlines()] for each in blocks]
    return [rows for rows in tables if rows[0][1] == first]


def draw(results: str, path: Path) -> None:
    """Gains of the adapter, by how much domains differ and by the rows of a domain.

    results: the text of RESULTS.md; path: of the PNG.
    """
    figure = Figure(figsize=(10, 4), dpi=140, layout="constrained")
    left, right = figure.subplots(1, 2)
    colors = {}
    (sets,) = tables_of(results, "own share")
    for row, color in zip(sets[2:], COLORS, strict=False):
        colors[re.match("[^,:]*", row[0])[0]] = color
        gains = [row[place] for place, title in enumerate(sets[0]) if "adapter on" in title]
        for shift, (gain, marker) in enumerate(zip(gains, BACKBONES.values(), strict=True)):
            if row[1] == "-":
                continue
            mean, low, high = map(float, re.findall(r"[-+]?\d\.\d+", gain))
            style = dict(fmt=marker, color=color, capsize=2, ms=5)
            at = float(row[1]) + 0.004 * shift
            left.errorbar(at, mean, yerr=[[mean - low], [high - mean]], **style)
    for header, _, *rows in tables_of(results, "test rows"):
        if header[0] not in colors:
            continue
        columns = [header.index(f"`{model}`") for model in ("mlp", "mlp_adp")]
        points = []
        for cells in rows:
            count = int(cells[1].replace(",", ""))
            plain, adapted = (float(cells[column].strip("*")) for column in columns)
            if count >= FEWEST:
                points.append((count, adapted - plain))
        right.scatter(*zip(*points), s=18, color=colors[header[0]], label=header[0])
    for model, marker in BACKBONES.items():
        left.plot([], [], marker, color="black", label=f"{model}_adp against {model}")
    left.set(xlim=(0, None), xlabel="own share: how much the domains differ")
    left.set(
        ylabel="gain in AUC, all test rows", title="It does not follow how much domains differ"
    )
    right.set(xscale="log", xlabel="test rows of the domain (training rows: 8 times as many)")
    right.set(ylabel="gain of mlp_adp over mlp", title="It follows how few rows a tower has")
    for axes in (left, right):
        axes.axhline(0, color="#999999", lw=0.8)
        axes.legend(fontsize=8)
        axes.grid(alpha=0.25)
    figure.savefig(path)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("sets", nargs="*", metavar="NAME=FOLDER")
    sets = [word.partition("=")[::2] for word in parser.parse_args(argv).sets]
    for name, folder in sets:
        print(summary(name, Path(folder)), table(name, Path(folder)), sep="\n\n", end="\n\n")
    if not sets:
        here = Path(__file__).parent
        draw((here.parent / "RESULTS.md").read_text(), here / "gains.png")


if __name__ == "__main__":
    main()
