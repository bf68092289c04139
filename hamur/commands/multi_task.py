"""From flags to results on disk for the multi-task models and their fronts."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hamur.commands.multi_task_config import TaskConfig
from hamur.commands.multi_task_data import data_rows, load_data, unknown_counts
from hamur.commands.script import (
    command,
    open_run,
    select_device,
    stop_if_interrupted,
    train_block,
)
from hamur.config import from_flags
from hamur.files import write_json
from hamur.metrics import fronts
from hamur.reporting import front, results, tables


def main(load: Callable, script: str, description: str, argv: Sequence[str] | None = None) -> int:
    """Run the multi-task script; exit codes as those of `hamur.commands.script.command`.

    load: load_aliexpress or a function of its signature.
    """
    config = from_flags(TaskConfig, argv, description)
    with command(script, config.debug) as outcome:
        stop_if_interrupted(run_tasks(config, load, Path(script).stem))
    return outcome.code


def run_tasks(config: TaskConfig, load: Callable, script: str) -> dict:
    """Load, build, train, judge every preference, and write everything to --save_dir; returns
    metrics.json.

    Raises:  ValueError: an option, the data or the device cannot be used; nothing was trained.
    """
    from hamur.commands import multi_task_training as task_training

    config.check_usage()
    select_device(config.device)
    warn(config)
    splits, schema, truth = load_data(config, load)
    config.check_numbers(len(schema.labels))
    config = config.resolved(script, len(splits.train))
    folder = Path(config.save_dir)
    say = (lambda *_: None) if config.quiet else print
    network = task_training.network_config(config)
    entropy = task_training.training_entropy(splits, schema)
    model = task_training.build(config, network, schema, splits.train.labels)
    say(f"{schema.name}: {config.dataset_path or 'generated rows'}\n")
    say(tables.text_table(*data_rows(splits, schema)) + "\n")
    description = results.run_description(config, network, script, splits, schema)
    counts = open_run(config, description, model, say)
    chosen_on = splits.test if config.select_on == "test" else splits.valid
    trainer = task_training.make_trainer(
        config, model, entropy, len(splits.train), save_dir=config.save_dir
    )
    run = trainer.fit(model, splits.train, chosen_on)
    content = head(config, schema) | judge(config, model, splits, schema, entropy, truth)
    content["train"] = train_block(run) | counts
    content["unknown"] = unknown_counts(splits, schema)
    write(folder, content, config, schema, say)
    return content


def warn(config: TaskConfig) -> None:
    """One line on stderr for what a user should not overlook."""
    for name in ("alpha", "lamb"):
        if getattr(config, name) is not None:
            print(
                f"--{name} is accepted for the public command line and has no effect",
                file=sys.stderr,
            )
    if config.select_on == "test":
        print(
            "--select_on test: the epoch is chosen on the test rows, as in the public code; the "
            "figures are no honest estimate",
            file=sys.stderr,
        )


def head(config, schema) -> dict:
    """What a reader of metrics.json must know first."""
    content = {
        "model": config.model_name,
        "preset": config.preset,
        "dataset": schema.name,
        "synthetic": config.dataset_path is None,
        "seed": config.seed,
        "selected_on": config.select_on,
    }
    return content | ({"head": config.head} if config.head else {})


def judge(config, model, splits, schema, entropy, truth) -> dict:
    """Valid, test, front, measures, posthoc and reference entries of metrics.json."""
    from hamur.commands import multi_task_training as task_training
    from hamur.training.predict import graph_mode, predictor_of

    names = schema.labels
    preferences = task_training.preferences_of(config, len(names))
    predictor, content, logits = predictor_of(model), {}, {}
    for part in ("valid", "test"):
        table = getattr(splits, part)
        with graph_mode():
            logits[part] = predictor.logits(table, preferences)
        entries = front.front_entries(preferences, logits[part], table, entropy, names)
        middle = entries[len(entries) // 2]
        content[part] = {"rows": len(table), "tasks": middle["tasks"]}
        if config.model_name == "pomoe":
            content[part]["preference"] = middle["preference"]
        content[f"front_{part}"] = entries
    content["entropy"] = {name: float(h) for name, h in zip(names, entropy)}
    if config.model_name != "pomoe":
        fronts_of = content.pop("front_valid"), content.pop("front_test")
        _, areas = front.arrays(fronts_of[1], names)
        volume = fronts.published_hypervolume(areas)
        return content | {"hv_published": None if np.isnan(volume) else volume}
    content["front"] = content.pop("front_test")
    front_parts(config, content, model, splits, schema, entropy, logits["test"], preferences, truth)
    return content


def front_parts(config, content, model, splits, schema, entropy, logits, preferences, truth):
    """Add posthoc, reference, exact and front_measures to the content."""
    from hamur.commands.multi_task_fronts import exact_entries, posthoc_entries, reference_entries

    names, table = schema.labels, splits.test
    content["posthoc"] = content["reference"] = content["exact"] = []
    if config.posthoc and len(names) == 2:
        content["posthoc"] = posthoc_entries(config, splits, schema, entropy, preferences)
    if config.reference_front:
        content["reference"] = reference_entries(config, splits, schema, entropy)
    if truth is not None and config.head == "shared_score":
        content["exact"] = exact_entries(truth, splits.train, entropy, names, preferences)
    known = [*content["posthoc"], *content["reference"]]
    ideal = config.numbers("ideal")
    measures = front.measures(content["front"], names, known, ideal)
    for source in ("reference", "exact"):
        if content[source]:
            losses, _ = front.arrays(content[source], names)
            volume = fronts.hypervolume(losses, np.ones(len(names)))
            key = "hv_fraction" if source == "reference" else "hv_fraction_exact"
            measures[key] = measures["hv_ne"] / volume if volume > 0 else None
    _, areas = front.arrays(content["front"], names)
    volume = fronts.published_hypervolume(areas)
    measures["hv_published"] = None if np.isnan(volume) else volume
    if config.bootstrap:
        found = front.bootstrap(preferences, logits, table, entropy, config.bootstrap, config.seed)
        measures |= {"front_degenerate": found.pop("front_degenerate"), "intervals": found}
    content["front_measures"] = measures


def write(folder, content, config, schema, say) -> None:
    """metrics.json, and for a front front.csv, front.png and the tables."""
    from hamur.reporting.plots import front_plot

    names, run = schema.labels, content["train"]
    note = ", synthetic data" if content["synthetic"] else ""
    if "front" in content:
        sources = {s: content[s] for s in ("posthoc", "reference", "exact")}
        sources = {"model": content["front"]} | sources
        front.write_front(folder / "front.csv", sources, names)
        title = f"{config.model_name} ({config.preset}, {config.head}) on {schema.name}{note}"
        front_plot(folder / "front.png", sources, names, title)
    write_json(folder / "metrics.json", content)
    say(
        f"\nresults in {folder}; weights of epoch {run['best_epoch']} of {run['epochs']}, the best "
        f"on {config.select_on}"
    )
    say(f"test split{note}:\n")
    entries = content.get("front") or [
        {"preference": [1 / len(names)] * len(names), **content["test"]}
    ]
    print(front.front_table(entries, names))
    if "front" in content:
        print("\n" + front.measures_table(content["front_measures"], names))
        if content["front_measures"].get("front_degenerate"):
            print("every span is within its noise: on these rows the preference controls nothing")
