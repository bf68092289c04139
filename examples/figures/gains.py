"""What joint training and the adapter gain in every domain: a table, and gains.png beside it.

    python examples/figures/gains.py age:.053=runs/age gender:.097=runs/gender ...

A folder holds runs as `compare_models.py` leaves them, MODEL-SEED/metrics.json; before it, a name
and how much its domains differ (the "own share" of examples/RESULTS.md), if that is known.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from hamur.reporting.compare import compare

MODELS = ("domain_feature", "mlp", "mlp_adp", "dcn_md", "dcn_md_adp", "wd_md", "wd_md_adp")
BACKBONES = {"mlp": "o", "dcn_md": "s", "wd_md": "^"}
COLORS = ("#1b6ca8", "#d1495b", "#3a7d44", "#edae49", "#6d597a", "#444444")
CONTROL = "single_domain"


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


def overall(folder: Path, model: str):
    """The gain of the adapter over its backbone, over all test rows."""
    pair = (runs_of(folder, each) for each in (model, f"{model}_adp"))
    return compare(*({seed: test["auc"] for seed, test in runs.items()} for runs in pair))


def draw(sets: list[tuple[str, float | None, Path]], path: Path) -> None:
    """Gains of the adapter, by how much domains differ and by the rows of a domain."""
    figure = Figure(figsize=(10, 4), dpi=140, layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, share, folder), color in zip(sets, COLORS):
        for shift, (model, marker) in enumerate(BACKBONES.items()):
            found = overall(folder, model)
            if share is None:
                continue
            at = share + 0.004 * shift
            spread = [[found.difference - found.low], [found.high - found.difference]]
            style = dict(fmt=marker, color=color, capsize=2, ms=5)
            left.errorbar(at, found.difference, yerr=spread, **style)
        points = []
        for domain, rows in rows_of(folder).items():
            pair = (by_domain(folder, each, domain) for each in ("mlp", "mlp_adp"))
            found = compare(*pair)
            if found.count and rows >= 200:
                points.append((rows, found.difference))
        right.scatter(*zip(*points), s=18, color=color, label=name)
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
    parser.add_argument("sets", nargs="+", metavar="NAME[:SHARE]=FOLDER")
    sets = []
    for word in parser.parse_args(argv).sets:
        label, _, folder = word.partition("=")
        name, _, share = label.partition(":")
        sets.append((name, float(share) if share else None, Path(folder)))
        print(table(name, Path(folder)), end="\n\n")
    draw(sets, Path(__file__).with_name("gains.png"))


if __name__ == "__main__":
    main()
