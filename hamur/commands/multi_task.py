"""The multi-task script: load, build, train, evaluate every preference, and write."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from hamur import metrics
from hamur.commands.multi_task_config import SYNTHETIC, TaskConfig, TaskOptions
from hamur.commands.script import (
    command,
    from_flags,
    open_run,
    select_device,
    stop_if_interrupted,
    train_block,
)
from hamur.commands.task_fronts import at_preferences, compared_fronts
from hamur.commands.task_problem import (
    Problem,
    build,
    criterion_of,
    logits_of,
    preferences_of,
    task_trainer,
)
from hamur.data.table import choose_labels, first_rows
from hamur.files import write_json
from hamur.metrics import fronts
from hamur.reporting import front, results, tables

# The hypervolume of the model in parts of that of another front, at its preferences.
FRACTIONS = {
    "posthoc": "hv_fraction_posthoc",
    "reference": "hv_fraction",
    "exact": "hv_fraction_exact",
}


def main(load: Callable, script: str, description: str, argv: Sequence[str] | None = None) -> int:
    """Run the multi-task script; exit codes as those of `hamur.commands.script.command`.

    load: load_aliexpress or a function of its signature.
    """
    config = from_flags(TaskConfig, argv, description)
    work = partial(run_tasks, config, partial(load_data, config, load), Path(script).stem)
    return command(script, config, work)


def run_tasks(config: TaskOptions, load: Callable, script: str) -> dict:
    """Load, build, train, evaluate, and write everything to --save_dir; returns metrics.json.

    load: () -> (splits, schema, truth of the test rows or None).
    Raises:  ValueError: an option, the data or the device cannot be used; nothing was trained.
    """
    config.check_usage()
    select_device(config.device)
    warn(config)
    splits, schema, truth = load()
    if config.tasks is not None:
        splits, schema = choose_labels(splits, schema, config.tasks.split(","))
        truth = None
    if config.max_rows is not None:
        splits = splits._replace(train=first_rows(splits.train, config.max_rows))
    config.check_numbers(len(schema.labels))
    entropy = metrics.label_entropy(splits.train.labels, schema.labels)
    say = (lambda *_: None) if config.quiet else print
    say(f"{schema.name}: {config.dataset_path or 'generated rows'}\n")
    say(f"{tables.task_table(splits, schema)}\n")
    if config.search:
        return search_options(Problem(config, splits, schema, entropy), script)
    config = config.resolved(script, len(splits.train))
    problem = Problem(config, splits, schema, entropy, truth)
    model, run, counts = train(problem, script)
    content = {
        "model": config.model_name,
        "preset": config.preset,
        "dataset": schema.name,
        "synthetic": config.dataset_path is None,
        "seed": config.seed,
        "selected_on": config.select_on,
    }
    content |= {"head": config.head} if config.head else {}
    content |= evaluate(problem, model, alone=run.interrupted)
    content |= {"train": train_block(run) | counts, "unknown": unknown_counts(problem)}
    write(Path(config.save_dir), content, problem, say)
    stop_if_interrupted(run)
    return content


def train(problem: Problem, script: str, *after_epoch: Callable) -> tuple:
    """The model of a problem, trained in its folder: (model, Run, parameter counts)."""
    config, splits, schema = problem.config, problem.splits, problem.schema
    model = build(problem)
    description = results.run_description(config, model.config, script, splits, schema)
    counts = open_run(config, description, model, (lambda *_: None) if config.quiet else print)
    chosen_on = splits.test if config.select_on == "test" else splits.valid
    trainer = task_trainer(problem, model, after_epoch=after_epoch)
    return model, trainer.fit(model, splits.train, chosen_on), counts


def search_options(problem: Problem, script: str) -> dict:
    """The search of --search, of an unresolved configuration; returns best.json.

    Raises:  ValueError: --select_on test.
    """
    from hamur.commands.search import MULTI_TASK, search

    config, splits = problem.config, problem.splits
    if config.select_on == "test":
        raise ValueError("--search chooses on validation rows; leave --select_on test out.")

    def run(trial: TaskOptions, hook: Callable):
        trial = trial.resolved(script, len(splits.train))
        return train(problem._replace(config=trial), script, hook)[1]

    criterion = criterion_of(config)
    named = dict(script=script, model=config.model_name, criterion=criterion, splits=splits)
    return search(config, MULTI_TASK, run, **named)


def warn(config: TaskOptions) -> None:
    """One line on stderr for each flag whose effect a user may misjudge."""
    notes = [
        f"--{name} is accepted for the public command line and has no effect"
        for name in ("alpha", "lamb")
        if getattr(config, name, None) is not None
    ]
    if config.select_on == "test":
        notes.append(
            "--select_on test: the epoch is chosen on the test rows, as in the public code; the "
            "figures are no honest estimate"
        )
    for note in notes:
        print(note, file=sys.stderr)


def load_data(config: TaskConfig, load: Callable) -> tuple:
    """(splits, schema, truth of the test rows or None).

    Raises:  ValueError: a --task_num that is not that of the data.
    """
    truth = None
    if config.dataset_name == SYNTHETIC:
        if config.dataset_path is not None:
            raise ValueError(f"--dataset_path is not for --dataset_name {SYNTHETIC}.")
        if config.task_num < 2:
            raise ValueError(f"--task_num must be at least 2 for {SYNTHETIC}, got 1.")
        rows, tasks = config.synthetic_rows, config.task_num
        from hamur.data.synthetic.conflict import make_task_conflict

        splits, schema, truths = make_task_conflict(
            rows, tasks, config.conflict, seed=config.seed, valid_share=config.valid_fraction
        )
        truth = truths.test
    else:
        country = config.dataset_name.rpartition("_")[2]
        splits, schema = load(
            config.dataset_path,
            countries=(country,),
            valid_fraction=config.valid_fraction,
            on_bad_rows=config.on_bad_rows,
            max_bad_fraction=config.max_bad_fraction,
            allow_leakage=config.allow_leakage,
            max_line_mib=config.max_line_mib,
        )
    labels = schema.labels if config.tasks is None else config.tasks.split(",")
    if config.task_num != len(labels):
        raise ValueError(
            f"--task_num is {config.task_num}, but the data have {len(labels)} label columns: "
            f"{', '.join(labels)}."
        )
    return splits, schema, truth


def unknown_counts(problem: Problem) -> dict:
    """Cells per split and field with id 0, a value that no training row has; without zeros."""
    schema, counts = problem.schema, {}
    for part, table in problem.splits._asdict().items():
        zeros = dict(zip(schema.sparse_names, (np.asarray(table.sparse) == 0).sum(axis=0)))
        zeros.pop(schema.domain_field, None)
        counts[part] = {name: int(count) for name, count in zeros.items() if count}
    return counts


def evaluate(problem: Problem, model, alone: bool = False) -> dict:
    """The entries "valid" to "front_measures" of metrics.json; front_valid: the front on validation
    rows, from which `front.preference_for` picks a preference.  alone: train nothing to compare the
    front with."""
    config, splits, names = problem.config, problem.splits, problem.schema.labels
    preferences = preferences_of(config, len(names))
    content = {}
    for part in ("valid", "test"):
        table = getattr(splits, part)
        logits = logits_of(model, table, preferences)
        entries = front.front_entries(preferences, logits, table, problem.entropy, names)
        middle = entries[len(entries) // 2]
        content[part] = {"rows": len(table), "tasks": middle["tasks"]}
        if config.model_name == "pomoe":
            content[part]["preference"] = middle["preference"]
            content["front" if part == "test" else "front_valid"] = entries
    content["entropy"] = {name: float(h) for name, h in zip(names, problem.entropy)}
    if config.model_name != "pomoe":
        return content | {"hv_published": published_volume(entries, names)}
    content |= compared_fronts(problem, preferences, alone)
    measures = front.measures(
        entries, names, [*content["posthoc"], *content["reference"]], config.numbers("ideal")
    )
    for source, key in FRACTIONS.items():
        if content[source]:
            volume = hypervolume_of(content[source], names)
            own = at_preferences(problem, model, entries, content[source])
            measures[key] = hypervolume_of(own, names) / volume if volume > 0 else None
    measures["hv_published"] = published_volume(entries, names)
    if config.bootstrap:
        intervals = front.bootstrap(
            preferences, logits, splits.test, problem.entropy, config.bootstrap, config.seed
        )
        measures["front_degenerate"] = intervals.pop("front_degenerate")
        measures["intervals"] = intervals
    return content | {"front_measures": measures}


def hypervolume_of(entries, names) -> float:
    """Of the normalized entropies, below those of the constant predictor."""
    losses, _ = front.arrays(entries, names)
    return fronts.hypervolume(losses, np.ones(len(names)))


def published_volume(entries, names) -> float | None:
    """Hypervolume of the AUCs as the public code computes it."""
    volume = fronts.published_hypervolume(front.arrays(entries, names)[1])
    return None if np.isnan(volume) else volume


def write(folder: Path, content: dict, problem: Problem, say: Callable) -> None:
    """metrics.json, and for a front front.csv, front.png and the tables."""
    config, names, run = problem.config, problem.schema.labels, content["train"]
    note = ", synthetic data" if content["synthetic"] else ""
    selected = "validation" if config.select_on == "valid" else "the test rows"
    if "front" in content:
        sources = {"model": content["front"]}
        sources |= {name: content[name] for name in ("posthoc", "reference", "exact")}
        front.write_front(folder / "front.csv", sources, names)
        data = f"{problem.schema.name}{note}"
        title = f"{config.model_name} ({config.preset}, {config.head}) on {data}"
        from hamur.reporting import plots

        plots.front_plot(folder / "front.png", sources, names, title)
    write_json(folder / "metrics.json", content, sealed=True)
    say(
        f"\nresults in {folder}; weights of epoch {run['best_epoch']} of {run['epochs']}, the best "
        f"on {selected};\ntest split{note}:\n"
    )
    print(front.report(content, names))
