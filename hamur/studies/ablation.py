"""Which difference between HAMUR's paper and its public code carries what: one table of all arms.

    plain, plain matched      the backbone alone, and widened to the adapter model's parameters
    official, paper           both forms of the adapter model; plain arms come in both forms too
    official with X of paper  one row of the specification's table of differences changed, and
    paper with X of official  the same row changed back, for every row
    ... with K = 8, 16        a smaller instance matrix; the published K stands in the arm itself

Every arm trains with the same options and seeds; an arm whose result is on disk is not run again.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hamur.commands.script import command, select_device
from hamur.config import (
    check_fields,
    data_flag,
    from_flags,
    model_flag,
    run_flag,
    training_flag,
)
from hamur.files import replacing, write_history, write_json
from hamur.reporting import compare, results, tables

# The rows of the table of differences: fields that mean one thing change together.
ROWS = (
    ("side",),
    ("init",),
    ("instance_head",),
    ("instance_scale",),
    ("up_bias", "cell_bias"),
    ("gamma_init", "affine"),
    ("norm_group",),
    ("norm_inference",),
    ("norm_variance",),
    ("min_domain_rows",),
    ("tower_rows",),
    ("bn_repeat",),
    ("embedding_std",),
    ("batches",),
)
RANKS = (8, 16)
PRESETS = ("paper", "official")
FIGURES = ("auc", "macro_auc", "worst_auc", "logloss")
BACKBONES = ("mlp", "dcn_md", "wd_md")


@dataclass(frozen=True)
class AblationConfig:
    """Options of the ablation script; see RankingConfig for those of the same name.

    Raises:  ValueError: an unknown backbone, or a number out of its range.
    """

    dataset_path: str | None = data_flag(
        None,
        "a folder or file that the MovieLens loader reads",
        default_text="generated rows whose two domains disagree about every item",
    )
    rows: int = data_flag(8_000, "rows to generate without --dataset_path", at_least=200)
    backbone: str = model_flag("mlp", "the network the adapter cells stand in", choices=BACKBONES)
    arms: str | None = model_flag(
        None, "only arms whose name this regular expression matches", default_text="all"
    )
    seeds: int = training_flag(
        3, "training seeds of each arm, counted from 2022; initial weights follow", at_least=1
    )
    epoch: int = training_flag(20, "passes over the training rows, at most", at_least=1)
    patience: int = training_flag(4, "epochs without a better validation AUC", at_least=1)
    batch_size: int = training_flag(512, "rows of a training step", at_least=2)
    learning_rate: float = training_flag(1e-3, "step size of Adam", above=0)
    weight_decay: float = training_flag(1e-5, "strength of the coupled L2 term", at_least=0)
    device: str = run_flag("cpu", "cpu, gpu or ascend, with a card as in ascend:1")
    save_dir: str = run_flag("runs/ablation", "folder of the results; also what resuming reads")
    quiet: bool = run_flag(False, "print the table only")
    debug: bool = run_flag(False, "show the traceback of an error in data or options")

    def __post_init__(self):
        check_fields(self)
        try:
            re.compile(self.arms or "")
        except re.error as error:
            raise ValueError(f"--arms {self.arms!r} is no regular expression: {error}.") from error


class Arm(NamedTuple):
    """A model to train; ``reference`` is the arm it is compared with, None for the first."""

    name: str
    adapter: bool
    config: object  # AdapterConfig
    reference: str | None
    matched: bool = False


def make_arms() -> list[Arm]:
    """All arms, references before what is compared with them."""
    from hamur.layers.adapter_config import PRESETS as constructors

    config = {preset: constructors[preset]() for preset in PRESETS}
    arms = []
    for preset in PRESETS:
        plain = f"plain, {preset} towers"
        first = arms[0].name if arms else None
        arms.append(Arm(plain, False, config[preset], first))
        arms.append(Arm(f"{plain}, matched", False, config[preset], plain, matched=True))
        arms.append(Arm(preset, True, config[preset], plain))
    for preset, other in (PRESETS, PRESETS[::-1]):
        for row in ROWS:
            changes = {name: getattr(config[other], name) for name in row}
            name = f"{preset} with {' and '.join(row)} of {other}"
            arms.append(Arm(name, True, dataclasses.replace(config[preset], **changes), preset))
        for rank in RANKS:
            changed = dataclasses.replace(config[preset], rank=rank)
            arms.append(Arm(f"{preset} with K = {rank}", True, changed, preset))
    return arms


def main(load: Callable, script: str, description: str, argv: Sequence[str] | None = None) -> int:
    """Run the script: flags, then `run_study`.  Exit codes as those of `hamur.commands.script`."""
    config = from_flags(AblationConfig, argv, description)
    with command(script, config.debug, "started again, it trains only what is missing") as outcome:
        run_study(config, load)
    return outcome.code


def run_study(config: AblationConfig, load: Callable) -> list[dict]:
    """Train every arm that has no result in save_dir, then write ablation.{md,csv,json}.

    load: path -> (Splits, Schema).  Returns the rows of ablation.json.
    Raises:  ValueError: save_dir holds a study of other options or data, or no arm matches.
    """
    select_device(config.device)
    splits, schema = load_data(config, load)
    folder = Path(config.save_dir)
    arms = [arm for arm in make_arms() if re.search(config.arms or "", arm.name)]
    if not arms:
        raise ValueError(f"--arms {config.arms!r} matches none of the arms.")
    remember(folder / "config.json", config, splits, schema)
    found = {}
    for seed in range(2022, 2022 + config.seeds):
        for arm in arms:
            path = folder / "arms" / slug(arm.name) / f"{seed}.json"
            if not path.exists():
                write_json(path, run_arm(arm, config, splits, schema, seed))
            found[arm.name, seed] = json.loads(path.read_text())
            if not config.quiet:
                report = found[arm.name, seed]["test"]
                print(f"seed {seed}  {arm.name}: test auc {report['auc']:.4f}", flush=True)
    rows = summary(arms, found)
    write_table(folder, rows, config, schema)
    return rows


def load_data(config: AblationConfig, load: Callable) -> tuple:
    """(Splits, Schema) of --dataset_path, or generated rows whose domains disagree."""
    from hamur.data.synthetic.conflict import make_conflict

    if config.dataset_path is not None:
        return load(config.dataset_path)
    return make_conflict(config.rows)[:2]


def remember(path: Path, config: AblationConfig, splits, schema) -> None:
    """Write config.json, or check that the one in the folder describes the same study."""
    free = ("arms", "seeds", "device", "save_dir", "dataset_path", "quiet", "debug")
    options = {k: v for k, v in dataclasses.asdict(config).items() if k not in free}
    study = {"options": options, "data": schema.name, "fingerprint": results.fingerprint(splits)}
    before = json.loads(path.read_text())["study"] if path.exists() else study
    if before != study:
        raise ValueError(f"{path.parent} holds another study: {before}. Use another --save_dir.")
    about = {"versions": results.versions(), "git_commit": results.git_commit()}
    write_json(path, {"study": study, "all_options": dataclasses.asdict(config), **about})


def run_arm(arm: Arm, config: AblationConfig, splits, schema, seed: int) -> dict:
    """Train one arm; its reports on validation and test rows, and its size."""
    from hamur import metrics, models, training

    model = build(arm, config.backbone, schema, seed)
    trainer = training.Trainer(
        training.supervised_step,
        epochs=config.epoch,
        batch_size=config.batch_size,
        seed=seed,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        patience=config.patience,
        quiet=True,
    )
    run = trainer.fit(model, splits.train, splits.valid)
    if run.interrupted:  # half an arm is no result
        raise KeyboardInterrupt
    content = {"arm": arm.name, "model": config.backbone, "seed": seed}
    content |= {"epochs": run.epochs, "best_epoch": run.best_epoch, "seconds": run.seconds}
    content |= models.parameter_counts(model)
    for part in ("valid", "test"):
        table = getattr(splits, part)
        probabilities = training.predict(model, table)
        labels = table.labels[:, 0]
        content[part] = metrics.by_group(labels, probabilities, table.domain, schema.num_domains)
    return content


def build(arm: Arm, backbone: str, schema, seed: int):
    """The arm's model; a matched one has the parameters of the adapter model of its preset."""
    from hamur import models

    plain, adapted = models.RANKING[backbone], models.RANKING[f"{backbone}_adp"]
    if not arm.matched:
        return (adapted if arm.adapter else plain)(schema, config=arm.config, seed=seed)
    target = models.parameter_counts(adapted(schema, config=arm.config))["parameters"]
    return models.match_parameters(plain, schema, target, config=arm.config, seed=seed)


def summary(arms: Sequence[Arm], found: dict[tuple[str, int], dict]) -> list[dict]:
    """A row an arm: every figure over the seeds, and the paired difference to its reference."""
    rows = []
    for arm in arms:
        runs = {seed: run for (name, seed), run in found.items() if name == arm.name}
        row = {"arm": arm.name, "seeds": len(runs)}
        row["parameters"] = next(iter(runs.values()))["parameters"]
        for name, values in figures(runs.values()):
            spread = compare.spread(values)
            row[name] = spread.mean if spread.count else None
            row[f"{name}_std"] = spread.std if spread.count > 1 else None
        row |= difference(arm, runs, found)
        rows.append(row)
    return rows


def figures(runs) -> Iterator[tuple[str, list]]:
    """Name and values over runs of each figure in the table."""
    runs = list(runs)
    yield "valid_auc", [run["valid"]["auc"] for run in runs]
    for name in FIGURES:
        yield name, [run["test"][name] for run in runs]
    for domain in runs[0]["test"]["domains"]:
        yield f"auc_domain_{domain}", [run["test"]["domains"][domain]["auc"] for run in runs]


def difference(arm: Arm, runs: dict, found: dict) -> dict:
    """Test AUC against the reference, paired by seed."""
    both = [
        {seed: run["test"]["auc"] for (name, seed), run in found.items() if name == arm.reference},
        {seed: run["test"]["auc"] for seed, run in runs.items()},
    ]
    names = ("reference", "difference", "low", "high", "verdict")
    if not both[0]:
        return dict.fromkeys(names)
    result = compare.compare(*both)
    interval = (result.low, result.high) if result.count > 1 else (None, None)
    return dict(zip(names, (arm.reference, result.difference, *interval, result.verdict)))


def write_table(folder: Path, rows: list[dict], config: AblationConfig, schema) -> None:
    """ablation.json, ablation.csv and ablation.md; the last is also printed."""
    write_json(folder / "ablation.json", {"backbone": config.backbone, "rows": rows})
    write_history(folder / "ablation.csv", rows)
    shown = [name for name in rows[0] if f"{name}_std" in rows[0]]
    header = ["arm", "seeds", "parameters", *shown, "against", "difference", "95 %", "verdict"]
    lines = [_line(row, shown) for row in rows]
    title = f"Ablation of {config.backbone}_adp on {schema.name}, test split (mean ± std)\n\n"
    with replacing(folder / "ablation.md") as temporary:
        temporary.write_text(title + tables.markdown_table(header, lines) + "\n")
    print(title + tables.markdown_table(header, lines))


def _line(row: dict, shown: Sequence[str]) -> list[str]:
    line = [row["arm"], str(row["seeds"]), f"{row['parameters']:,}"]
    for name in shown:
        mean, std = row[name], row[f"{name}_std"]
        text = tables.UNDEFINED if mean is None else f"{mean:.4f}"
        line.append(text + ("" if std is None else f" ± {std:.4f}"))
    if row["reference"] is None:
        return line + [tables.UNDEFINED] * 4
    interval = tables.UNDEFINED
    if row["low"] is not None:
        interval = f"{row['low']:+.4f} to {row['high']:+.4f}"
    return line + [row["reference"], f"{row['difference']:+.4f}", interval, row["verdict"]]


def slug(name: str) -> str:
    """An arm's name as a folder's: plain-official-towers."""
    return re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")
