"""Which difference between HAMUR's paper and its public code carries what: one table of all arms.

    plain, plain matched      the backbone alone, and widened to the adapter model's parameters
    official, paper           both forms of the adapter model; plain arms come in both forms too
    official with X of paper  one row of the specification's table of differences changed, and
    paper with X of official  the same row changed back, for every row
    ... with K = 8, 16        a smaller instance matrix than the published K of the arm itself

With --preset best the arms are forms of the adapter that the switches of that preset express, each
against the plain backbone, at the preset's L2 of the embeddings and average of the weights.

Every arm trains with the same options and seeds; an arm whose result is on disk is not run again.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from hamur.commands.ranking import TUNED, evaluation_batch
from hamur.commands.script import select_device, stop_if_interrupted
from hamur.config import data_flag, model_flag, shared
from hamur.files import write_history, write_json, write_text
from hamur.reporting import compare, results, tables
from hamur.same_run import load_or_train
from hamur.studies import CHANGEABLE, StudyOptions, run_script

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
# Of preset best.
FORMS = {
    "K = 4": dict(rank=4),
    "K = 8": dict(rank=8),
    "K = 32": dict(rank=32),
    "M = 8": dict(bottleneck_dim=8),
    "M = 64": dict(bottleneck_dim=64),
    "gamma_init = 0": dict(gamma_init=0.0),
    "cells behind both layers": dict(adapter_layers=(1, 2)),
    "side = shared": dict(side="shared"),
    "instance_head = bn_relu": dict(instance_head="bn_relu"),
}
PRESETS = ("paper", "official")
BACKBONES = ("mlp", "dcn_md", "wd_md")


@dataclass(frozen=True)
class AblationConfig(StudyOptions):
    """Options of the ablation script.

    Raises:  ValueError: an unknown backbone, or a number out of its range.
    """

    dataset_path: str | None = data_flag(
        None,
        "a folder or file that the MovieLens loader reads",
        default_text="generated rows whose two domains disagree about every item",
    )
    rows: int = data_flag(8_000, "rows to generate without --dataset_path", at_least=200)
    preset: str | None = model_flag(
        None,
        "best: forms of the adapter, at the L2 and averaging of that preset",
        default_text="the differences of paper and official",
        choices=("best",),
    )
    backbone: str = model_flag("mlp", "the network that gets the adapter cells", choices=BACKBONES)
    arms: str | None = model_flag(
        None, "only arms whose name this regular expression matches", default_text="all"
    )
    save_dir: str = shared("save_dir", "runs/ablation", default_text=None)

    def __post_init__(self):
        super().__post_init__()
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


def make_forms(backbone: str) -> list[Arm]:
    """The arms of preset best, references before what is compared with them."""
    from hamur.layers.adapter_config import AdapterConfig

    best, plain = AdapterConfig.best(), "plain"
    other = "shared" if backbone == "mlp" else "domain"
    towers = AdapterConfig.best(backbone=other)
    plain_towers = f"plain, backbone = {other}"
    arms = [
        Arm(plain, False, best, None),
        Arm("plain, matched", False, best, plain, matched=True),
        Arm("best", True, best, plain),
    ]
    for name, changes in FORMS.items():
        arms.append(Arm(f"best with {name}", True, AdapterConfig.best(**changes), plain))
    arms.append(Arm(plain_towers, False, towers, plain))
    arms.append(Arm(f"best with backbone = {other}", True, towers, plain_towers))
    return arms


def main(load: Callable, script: str, description: str, argv: Sequence[str] | None = None) -> int:
    """Run the script: flags, then `run_study`."""
    return run_script(AblationConfig, lambda c: run_study(c, load), script, description, argv)


def run_study(config: AblationConfig, load: Callable) -> list[dict]:
    """Train every arm that has no result in save_dir, then write ablation.{md,csv,json}.

    load: path -> (Splits, Schema).  Returns the rows of ablation.json.
    Raises:  ValueError: save_dir holds a study of other options or data, or no arm matches.
    """
    select_device(config.device)
    splits, schema = load_data(config, load)
    folder = Path(config.save_dir)
    every = make_forms(config.backbone) if config.preset == "best" else make_arms()
    arms = [arm for arm in every if re.search(config.arms or "", arm.name)]
    if not arms:
        raise ValueError(f"--arms {config.arms!r} matches none of the arms.")
    about = {"options": config.fixed(), "versions": results.versions()}
    about["data"] = {"name": schema.name, "fingerprint": results.fingerprint(splits)}
    about["git_commit"] = results.git_commit()
    runs = {arm.name: {} for arm in arms}
    for seed in range(2022, 2022 + config.seeds):
        for arm in arms:
            run = load_or_train(
                folder / "arms" / slug(arm.name) / str(seed),
                about,
                partial(run_arm, arm, config, splits, schema, seed),
                CHANGEABLE,
            )
            runs[arm.name][seed] = run
            if not config.quiet:
                auc = tables.number_text(run["test"]["auc"])
                print(f"seed {seed}  {arm.name}: test auc {auc}", flush=True)
    rows = [summary(arm, runs) for arm in arms]
    write_table(folder, rows, config, schema)
    return rows


def load_data(config: AblationConfig, load: Callable) -> tuple:
    """(Splits, Schema) of --dataset_path, or generated rows whose domains disagree."""
    from hamur.data.synthetic.conflict import make_conflict

    if config.dataset_path is not None:
        return load(config.dataset_path)
    return make_conflict(config.rows)[:2]


def run_arm(arm: Arm, config: AblationConfig, splits, schema, seed: int) -> dict:
    """Train one arm; its reports on validation and test rows, and its size."""
    from hamur import metrics, models, training

    model = build(arm, config.backbone, schema, seed)
    batch_size = partial(evaluation_batch, model, config.batch_size)
    recipe = ("embedding_decay", "averaging") if config.preset == "best" else ()
    trainer = training.Trainer(
        training.supervised_step,
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=seed,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        patience=config.patience,
        evaluation=partial(training.RankingEvaluation, batch_size=batch_size(splits.valid)),
        quiet=True,
        **{name: TUNED[name] for name in recipe},
    )
    run = trainer.fit(model, splits.train, splits.valid)
    stop_if_interrupted(run)  # half an arm is no result
    content = {"arm": arm.name, "model": config.backbone, "seed": seed}
    content |= {"epochs": run.epochs, "best_epoch": run.best_epoch, "seconds": run.seconds}
    content |= models.parameter_counts(model)
    for part in ("valid", "test"):
        table = getattr(splits, part)
        probabilities = training.predict_split(model, table, batch_size(table))
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


def summary(arm: Arm, runs: dict[str, dict[int, dict]]) -> dict:
    """Row of an arm: every figure over the seeds, and the paired difference to its reference."""
    by_seed = runs[arm.name]
    row = {"arm": arm.name, "seeds": len(by_seed)}
    row["parameters"] = next(iter(by_seed.values()))["parameters"]
    figures = [
        {"valid_auc": run["valid"]["auc"]} | compare.figures(run) for run in by_seed.values()
    ]
    for name in figures[0]:
        spread = compare.spread(values[name] for values in figures)
        row[name] = spread.mean if spread.count else None
        row[f"{name}_std"] = spread.std if spread.count > 1 else None
    sides = (compare.defined(runs.get(name, {}), "auc") for name in (arm.reference, arm.name))
    result = compare.compare(*sides)
    row |= dict.fromkeys(("reference", "difference", "low", "high", "verdict"))
    if result.count:
        row |= {"reference": arm.reference, "difference": result.difference}
        row["verdict"] = result.verdict
    if result.count > 1:
        row |= {"low": result.low, "high": result.high}
    return row


def write_table(folder: Path, rows: list[dict], config: AblationConfig, schema) -> None:
    """ablation.json, ablation.csv and ablation.md; the last is also printed."""
    write_json(folder / "ablation.json", {"backbone": config.backbone, "rows": rows})
    write_history(folder / "ablation.csv", rows)
    shown = [name for name in rows[0] if f"{name}_std" in rows[0]]
    header = ["arm", "seeds", "parameters", *shown, "against", "difference", "95 %", "verdict"]
    lines = [_line(row, shown) for row in rows]
    text = f"Ablation of {config.backbone}_adp on {schema.name}, test split (mean ± std)\n\n"
    text += tables.markdown_table(header, lines)
    write_text(folder / "ablation.md", text)
    print(text)


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
