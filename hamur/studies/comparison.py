"""Many ranking models over several seeds on one split: runs, leaderboard and report.

Every run is one of the ranking scripts, in a process and a folder of its own.  Finished runs are
read, unfinished ones continue, so the same command given again ends with the same leaderboard.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from hamur import workers
from hamur.commands import processes
from hamur.commands.ranking import load_splits, run_ranking
from hamur.commands.script import command, from_flags, select_device
from hamur.errors import DataFileNotFoundError, DataFormatError
from hamur.files import locked, misfit, read_json
from hamur.same_run import difference, finished, read_config
from hamur.studies import tuning
from hamur.studies.comparison_config import REMEDY, SCRIPT, ComparisonConfig, GridRun, as_command

HINT = "the same command continues, and trains only what is missing"
# What is read of a run's metrics.json and config.json.
_FIGURES = {"auc": (float, type(None)), "logloss": (float, type(None))}
_REPORT = _FIGURES | {"domains": {str: _FIGURES}}
_RESULT = {"train": {"seconds": float, "best_epoch": int}, "valid": _REPORT, "test": _REPORT}
_TOLD = {"versions": {str: (str, type(None))}, "git_commit": (str, type(None))}


class Place(NamedTuple):
    """A run of the grid."""

    name: str
    seed: int
    config: GridRun

    @property
    def folder(self) -> Path:
        return Path(self.config.save_dir)


class RunsFailed(ValueError):
    """Some runs have no result; the others are on disk and in the leaderboard."""

    exit_code = 1


def main(script: str, description: str, argv: Sequence[str] | None = None) -> int:
    """Run the script; the exit code is 1 where a run failed, else see `script.command`."""
    config = from_flags(ComparisonConfig, argv, description)
    return command(script, config, partial(run_comparison, config), HINT)


def run_comparison(config: ComparisonConfig, train: Callable | None = None) -> None:
    """Search and train what is missing, examine the domains (doctor.json), and write
    leaderboard.{csv,md}, costs.csv, report.html and, of searches, tuning.csv.

    train: what a process does with the configuration of a run; returns its exit code.
    Raises:  ValueError: a run on disk is of other data or options, nothing was trained; RunsFailed.
    """
    from hamur.reporting import results

    workers.refuse("a comparison")
    if config.device != "cpu":  # which always is there; a look at it takes seconds
        select_device(config.device)  # of each run, whose errors would be told as often
    folder = Path(config.save_dir)
    with locked(folder):
        splits, schema = load_splits(config, config.loader())
        data = {"fingerprint": results.fingerprint(splits)}
        tuned, untuned = {}, {}
        if config.search:
            tuned, untuned = tuning.tune(config, splits, data["fingerprint"])
        places = [
            Place(name, seed, config.run(name, seed, **tuned.get(name, {}).get("options", {})))
            for seed in range(config.seed, config.seed + config.seeds)
            for name in config.names
        ]
        done = {
            place: earlier(place, len(splits.train), data)
            for place in places
            if place.name not in untuned
        }
        failed = {f"{p.name}-{p.seed}": untuned[p.name] for p in places if p.name in untuned}
        failed |= train_missing(config, done, train or train_one)
        board, about = read_board(config, places, failed, splits, schema)
        sections = [tuning.section(config, tuned)] if config.search else []
        write_outcome(folder, board, about, sections)
        sections += examine_domains(config, places, failed, splits, schema)
        write_report(folder, board, about, sections)
    if failed:
        names = ", ".join(failed)
        raise RunsFailed(
            f"{len(failed)} of {len(places)} runs failed: {names}; output.txt in the folder of a "
            "run has what it printed, and the same command tries them again; a run whose folder is "
            "removed begins anew."
        )


def earlier(place: Place, train_rows: int, data: Mapping) -> dict | None:
    """metrics.json of the run if it is finished.

    Raises:  ValueError: the folder has a run of other data or options, or lacks a file.
    """
    from hamur.reporting.results import PREDICTIONS

    options = dataclasses.asdict(place.config.resolved(SCRIPT, train_rows))
    description, path = {"options": options, "data": data}, place.folder / "config.json"
    content = finished(place.folder, description, remedy=REMEDY)
    had = read_config(path, REMEDY) if content is None and path.exists() else description
    if different := difference(had, description):
        raise ValueError(f"{place.folder} holds a run, which had {different}; {REMEDY}.")
    begun = any((place.folder / name).exists() for name in ("metrics.json", "last"))
    needed = ["config.json"] if begun else []
    if content is not None:
        needed += ["history.csv", *PREDICTIONS.values()]
        if problem := misfit(content, _RESULT):
            raise DataFormatError(problem, file=place.folder / "metrics.json", remedy=REMEDY)
    for lost in (place.folder / name for name in needed):
        if not lost.exists():
            raise DataFileNotFoundError("the run has lost this file", file=lost, remedy=REMEDY)
    return content


def train_missing(
    config: ComparisonConfig, done: Mapping[Place, dict | None], train: Callable
) -> dict[str, str]:
    """Run what is not finished; run -> why it failed."""
    known: dict[str, list[float]] = {}
    for place, content in done.items():
        if content is not None:
            known.setdefault(place.name, []).append(content["train"]["seconds"])
    tasks = [
        processes.Task(f"{p.name}-{p.seed}", p.folder / "output.txt", p.config, p.name)
        for p, content in done.items()
        if content is None
    ]
    if not config.quiet:
        print(f"{len(done)} runs, {len(done) - len(tasks)} of them finished before", flush=True)
    failed = processes.run(tasks, train, config.jobs, known, config.quiet)
    return {name: str(each).replace(f"{SCRIPT}: error: ", "") for name, each in failed.items()}


def train_one(config: GridRun) -> int:
    """One run; its exit code."""
    work = partial(run_ranking, config, config.loader(), SCRIPT)
    return command(SCRIPT, config, work)


def read_board(
    config: ComparisonConfig, places: Sequence[Place], failed: Mapping[str, str], splits, schema
) -> tuple:
    """The board of the runs on disk, and what the report says of them."""
    from hamur.reporting import leaderboard, report, tables

    entries = {name: leaderboard.Entry(name, {}, {}, {}) for name in config.names}
    versions: dict[str, dict] = {}
    for place in places:
        entry, key = entries[place.name], f"{place.name}-{place.seed}"
        if key in failed:
            entry.failures[place.seed] = failed[key]
            continue
        entry.runs[place.seed] = run = read_json(place.folder / "metrics.json", remedy=REMEDY)
        best = run["train"]["best_epoch"]
        history = place.folder / "history.csv"
        entry.seconds_to_best[place.seed] = leaderboard.seconds_to_best(history, best)
        told = read_json(place.folder / "config.json", _TOLD, REMEDY)
        for name, text in (told["versions"] | {"commit": told["git_commit"]}).items():
            versions.setdefault(name, {})[text or "unknown"] = None
    source = config.dataset_path or "the bundled sample of generated rows"
    seeds = f"{config.seed} to {config.seed + config.seeds - 1}" if config.seeds > 1 else "one seed"
    about = report.About(
        dataset=schema.name,
        baseline=config.baseline,
        domains=schema.domain_names,
        facts=[
            f"{len(config.names)} models: {', '.join(config.names)}",
            f"Seeds: {seeds}" + (", so no intervals" if config.seeds == 1 else ""),
            f"Data: {schema.name}, {source}; domains: {schema.num_domains}",
            f"Preset {config.preset}, at most {config.epochs} epochs, the epoch chosen by the "
            f"validation {config.criterion}",
            *([tuning.fact(config)] if config.search else []),
        ],
        data=tables.data_rows(splits, schema),
        command=as_command(config),
        versions={name: " and ".join(texts) for name, texts in versions.items()},
    )
    return leaderboard.make_board(list(entries.values()), config.baseline), about


def write_outcome(folder: Path, board: Sequence, about, sections: Sequence) -> None:
    """The leaderboard, which is printed, and the report without the examination of the domains."""
    from hamur.reporting import leaderboard, tables

    leaderboard.write(folder, board, about.baseline, about.domains)
    write_report(folder, board, about, sections)
    header, rows = leaderboard.summary(board, about.baseline)
    print(tables.text_table(header[:8], [row[:8] for row in rows], left=2))
    for line in leaderboard.failures(board):
        print(line)
    print(f"\n{leaderboard.answer(board, about.baseline)}\nreport in {folder / 'report.html'}")


def write_report(folder: Path, board: Sequence, about, further: Sequence) -> None:
    """report.html; further: sections of other examinations."""
    from hamur.files import write_text
    from hamur.reporting import report

    write_text(folder / "report.html", report.render(board, about, further))


def examine_domains(
    config: ComparisonConfig, places: Sequence[Place], failed: Mapping[str, str], splits, schema
) -> list[tuple[str, str]]:
    """What the report says of each domain, from doctor.json, which is made where it is not that of
    these runs."""
    from hamur.reporting import doctor, doctor_page

    def scores(folder: Path) -> Callable:
        select_device(config.device)  # not before a model is needed: MindSpore loads for seconds
        return doctor.trained_scores(folder)

    runs: dict[str, dict[int, Path]] = {}
    for place in places:
        if f"{place.name}-{place.seed}" not in failed:
            runs.setdefault(place.name, {})[place.seed] = place.folder
    path = Path(config.save_dir) / "doctor.json"
    return doctor_page.sections(doctor.load_or_examine(path, runs, splits, schema, scores))
