"""Equal tuning of the models of a comparison: a search of its own for each, with the same space,
number of trials, rows and seed.

The folder of a search, `searches/<model>`, holds, beside what `hamur.commands.search` writes there,

    tuning.json      what is searched, and in the end what was chosen
    final/<name>/    a training on all training rows without pruning: of the preset's options, and,
                     if trials had fewer rows, of the two best trials, their decays scaled to all
                     rows; with trial.json as a trial

Of these and, if its rows were all rows, the best trial, that with the best figure on validation is
chosen, the preset's options where they are as good.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from hamur.commands import processes
from hamur.commands.ranking import load_splits, run_of_trial, search_options
from hamur.commands.script import command, select_device
from hamur.commands.search import RANKING, recorded, train_trial
from hamur.commands.search_outcome import COMPLETE, figure
from hamur.config import without_single_row
from hamur.files import read_json, write_history, write_json
from hamur.same_run import CHANGEABLE_WHEN_FINISHED, difference
from hamur.studies.comparison_config import SCRIPT, ComparisonConfig, GridRun

TUNING = "tuning.json"
REMEDY = "choose another --save_dir, or remove the folder of this search, and of the model's runs"
AT_FULL_SIZE = 2  # trials of fewer rows that are trained on all
_FORM = {"options": {"search": int}, "data": dict}
_OUTCOME = {"trials": int, "full_size": int, "chosen": str, "valid": float, "options": dict}


class Search(NamedTuple):
    """A search: its configuration, the training rows of a trial, None for all, and what tells the
    data from others."""

    config: GridRun
    rows: int | None
    fingerprint: str

    @property
    def description(self) -> dict:
        """What tells it from others."""
        options = dataclasses.asdict(self.config) | {"search_rows": self.rows}
        return {"options": options, "data": {"fingerprint": self.fingerprint}}

    @property
    def folder(self) -> Path:
        return Path(self.config.save_dir)


def tune(config: ComparisonConfig, splits, fingerprint: str) -> tuple[dict, dict]:
    """Search what is not finished, and write tuning.csv; (model -> outcome, model -> why its search
    failed).

    fingerprint: of the splits.
    Raises:  ValueError: a search on disk is another one, a run had none, or a wrong option; nothing
        was trained.
    """
    if config.search_rows is not None and config.search_rows > len(splits.train):
        raise ValueError(
            f"--search_rows is {config.search_rows}, but there are {len(splits.train)} training "
            "rows; leave it out to take all."
        )
    searches = {name: search_of(config, name, fingerprint) for name in config.names}
    found = {name: outcome_of(each) for name, each in searches.items()}
    for name, each in searches.items():
        runs = Path(config.save_dir).glob(f"runs/{name}-*/config.json")
        if not (each.folder / TUNING).exists() and (run := next(runs, None)):
            raise ValueError(f"{run.parent} holds a run without a search; {REMEDY}.")
    tasks = [
        processes.Task(f"search {name}", each.folder / "output.txt", each, name)
        for name, each in searches.items()
        if found[name] is None
    ]
    for task in tasks:
        write_json(task.argument.folder / TUNING, task.argument.description, sealed=True)
    if not config.quiet:
        finished = len(searches) - len(tasks)
        print(f"{len(searches)} searches, {finished} of them finished before", flush=True)
    failures = processes.run(tasks, search_one, config.jobs, quiet=config.quiet)
    found |= {task.kind: outcome_of(task.argument) for task in tasks if task.name not in failures}
    failed = {
        task.kind: f"search, {failures[task.name]}".replace(f"{SCRIPT}: error: ", "")
        for task in tasks
        if task.name in failures
    }
    write_history(
        Path(config.save_dir) / "tuning.csv", [row_of(config, *each) for each in found.items()]
    )
    return {name: outcome for name, outcome in found.items() if outcome}, failed


def search_of(config: ComparisonConfig, name: str, fingerprint: str) -> Search:
    """The search of a model; options that flags gave are fixed in it."""
    folder = str(Path(config.save_dir) / "searches" / name)
    changes = dict(search=config.search, resume=False, save_predictions=False, save_dir=folder)
    own = config.run(name, config.seed, **changes)
    given = frozenset(option for option in RANKING if getattr(own, option) is not None)
    object.__setattr__(own, "given", given)
    return Search(own, config.search_rows, fingerprint)


def outcome_of(search: Search) -> dict | None:
    """What a finished search has chosen; None where it is to be begun or continued.

    Raises:  ValueError: the folder holds another search, or one of more trials.
    """
    path, wanted = search.folder / TUNING, search.config.search
    if not path.exists():
        return None
    had = read_json(path, _FORM, REMEDY)
    trials = had["options"]["search"]
    different = difference(had, search.description, CHANGEABLE_WHEN_FINISHED)
    if different is None and trials > wanted:
        different = f"--search {trials}, this one {wanted}"
    if different is not None:
        raise ValueError(f"{search.folder} holds a search that had {different}; {REMEDY}.")
    if "outcome" not in had or trials < wanted:
        return None
    return read_json(path, {"outcome": _OUTCOME}, REMEDY)["outcome"]


def search_one(search: Search) -> int:
    """One search; its exit code."""
    return command(SCRIPT, search.config, partial(run_search, search))


def run_search(search: Search) -> None:
    """The trials, then the trainings on all rows; the outcome in tuning.json."""
    config = search.config
    select_device(config.device)
    splits, schema = load_splits(config, config.loader())
    splits = splits._replace(test=splits.test.take(np.arange(0)))  # whose rows no trial can see
    fewer = splits
    if search.rows is not None:
        fewer = splits._replace(train=sample(splits.train, search.rows, config.split_seed))
    trials = range(search_options(config, fewer, schema, SCRIPT)["trials"])
    done = {f"trial {n}": recorded(search.folder / "trials" / str(n)) for n in trials}
    complete = [name for name, record in done.items() if record["state"] == COMPLETE]
    best = sorted(complete, key=lambda name: -max(done[name]["values"]))

    rows, run = len(splits.train), partial(run_of_trial, splits, schema, SCRIPT)
    options, records = {"preset": resolved(config, {}, rows)}, {}
    for name in best[: 1 if search.rows is None else AT_FULL_SIZE]:
        options[name] = resolved(config, done[name]["options"], rows, len(fewer.train) / rows)
        if search.rows is None:
            records[name] = done[name]
    full_size = [name for name in options if name not in records]
    for name in full_size:
        place = search.folder / "final" / name.removeprefix("trial ")
        trial = SimpleNamespace(
            params=options[name], report=lambda *_: None, should_prune=lambda: False
        )
        print(f"\n{name} on all {rows:,} training rows", flush=True)
        records[name] = recorded(place) or train_trial(config, trial, run, place)
    trained = [name for name in options if records[name]["values"]]
    if not trained:
        raise ValueError("--search: the best options, and the preset's, diverge on all rows.")
    chosen = max(trained, key=lambda name: max(records[name]["values"]))
    outcome = {
        "trials": len(trials),
        "full_size": len(full_size),
        "chosen": chosen,
        "valid": figure(records[chosen], config.criterion),
        "options": options[chosen],
    }
    content = search.description | {"outcome": outcome}
    write_json(search.folder / TUNING, content, sealed=True)


def sample(table, rows: int, seed: int):
    """So many rows of a table, drawn without replacement, in their order."""
    drawn = np.random.default_rng(seed).choice(len(table), rows, replace=False)
    return table.take(np.sort(drawn))


def resolved(config: GridRun, options: Mapping, rows: int, share: float = 1.0) -> dict:
    """The options of the space as a run with these, on so many training rows, has them.

    share: of these rows, which the options are from.  Decays are multiplied by it: L2 is added to a
    mean over rows, so what it says of the weights beforehand counts as so many rows; with four
    times the rows a fourth of it says the same.
    """
    options = dict(options)
    for name in {"weight_decay", "embedding_decay"} & set(options):
        options[name] *= share
    if "batch_size" in options:  # that of fewer rows may leave a single one of all
        options["batch_size"] = without_single_row(options["batch_size"], rows)
    run = dataclasses.replace(config, **options).resolved(SCRIPT, rows)
    return {name: getattr(run, name) for name in RANKING}


def row_of(config: ComparisonConfig, name: str, outcome: Mapping | None) -> dict:
    """A line of tuning.csv."""
    row = {"model": name, "trials": config.search, "full_size": 0, "chosen": "search failed"}
    if outcome is None:
        return row
    row |= {key: outcome[key] for key in ("trials", "full_size", "chosen")}
    return row | {f"validation_{config.criterion}": outcome["valid"]} | outcome["options"]


def fact(config: ComparisonConfig) -> str:
    """What the report says of the searches."""
    rows = "all" if config.search_rows is None else f"{config.search_rows:,}"
    return f"Options of each model from a search of {config.search} trials on {rows} training rows"


def section(config: ComparisonConfig, outcomes: Mapping[str, Mapping]) -> tuple[str, str]:
    """What the report says of the options chosen: title and table."""
    from hamur.reporting import page

    measure = {"auc": "AUC"}.get(config.criterion, config.criterion)
    rows = []
    for name in config.names:
        if name not in outcomes:
            rows.append([name, f"{config.search}", "-", *"-" * len(RANKING), "search failed"])
            continue
        each = outcomes[name]
        cells = [f"{each['trials']} + {each['full_size']} at full size", f"{each['valid']:.5f}"]
        cells += [f"{each['options'][option]:.4g}" for option in RANKING]
        rows.append([name, *cells, each["chosen"]])
    text = "By validation figures of one seed; the same space, trials and rows for all models."
    table = page.table(["model", "trials", f"validation {measure}", *RANKING, "chosen"], rows)
    return "Tuning", page.joined(page.paragraph(text, "note"), table)
