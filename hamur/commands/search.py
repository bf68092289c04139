"""--search N: which options of the training are best on validation, by Optuna.

The folder of a search, by default runs/<script>/search-<model>-<seed>, holds

    search.json           what is searched; another search is refused there
    trials/<number>/      a run without metrics.json, because no trial sees a test row, and
                          trial.json: the options that were drawn, and what came of them
    best.json, trials.csv the outcome

Optuna's study is made of the trial.json files, anew for each trial and with a seed of its own, so
that a search which was killed anywhere and continued is the search that was not.  (Optuna's own
storages keep a killed trial as running for ever; that in a file keeps its lock for half a minute,
and cannot be read again when a line was cut.)

A trial runs in a forked process: the data are loaded once, and its memory is given back.  (In one
process MindSpore keeps the weights and moments of every network that it compiled: 35 MiB a trial
on the sample, 216 MiB with 8.8 million embedding parameters.)
"""

import dataclasses
import multiprocessing
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path

import numpy as np

from hamur import workers
from hamur.commands.processes import end_with
from hamur.commands.script import release
from hamur.commands.search_outcome import BEST, COMPLETE, TRIALS, table, told, write_outcome
from hamur.config import choose_batch_size
from hamur.files import locked, read_json, write_json
from hamur.reporting.results import fingerprint
from hamur.same_run import CHANGEABLE_WHEN_FINISHED, difference

# One space for all models of a family.  A pair is a range on a logarithmic scale, a list its
# values; batch sizes are lowered as those of a run, see `choose_batch_size`.
RANKING = dict(
    learning_rate=(1e-4, 1e-2),
    weight_decay=(1e-7, 1e-3),
    embedding_decay=(1e-6, 1e-2),
    averaging=[0.0, 0.99, 0.998],
    batch_size=[512, 1024, 2048, 4096],
)
MULTI_TASK = dict(
    learning_rate=(1e-4, 1e-2),
    weight_decay=(1e-8, 1e-4),
    averaging=[0.0, 0.99, 0.998],
    batch_size=[512, 1024, 2048, 4096],
)
CROSS_DOMAIN = dict(
    learning_rate=(5e-4, 5e-2),
    embedding_decay=(1e-2, 1.0),
    prior_weight=(0.1, 10.0),
    hplr=(1e-3, 1e-1),
    batch_size=[32, 64, 128, 256],
)

# Optuna's median rule: a trial ends after an epoch, from the third on, in which its best figure is
# below the median of the completed ones at that epoch, once there are five of them.
STARTUP_TRIALS, WARMUP_EPOCHS = 5, 2
RUNNING, PRUNED, DIVERGED = "running", "pruned", "diverged"
TRIAL, SEARCH = "trial.json", "search.json"
_FORM = {"options": dict, "state": str, "values": [float], "best_epoch": int}
_SEARCH_FORM = {"options": dict, "space": dict}


def search(
    config, space: Mapping, run: Callable, *, script: str, model: str, criterion: str, splits
) -> dict:
    """All trials of --search that are not on disk yet, then their table; returns best.json.

    config: of the command; options in its `given` are fixed and leave the space.  run(config of a
    trial, hook of `Trainer`) trains it in its save_dir, resuming, and returns its Run.
    criterion: of the trials, on validation.  splits: of the data, whose training rows bound the
    batch sizes, and which tell these data from others.
    Raises:  ValueError: every option of the space is given, the folder holds another search, or all
        trials diverged.
    """
    space = {name: values for name, values in space.items() if name not in config.given}
    if not space:
        raise ValueError("--search: every option that it would choose is given; leave one out.")
    workers.refuse("a search")
    if "batch_size" in space:
        rows = len(splits.train)
        space["batch_size"] = sorted({choose_batch_size(s, rows) for s in space["batch_size"]})
    folder = Path(config.save_dir or f"runs/{script}/search-{model}-{config.seed}")
    say = (lambda *_: None) if config.quiet else partial(print, flush=True)
    with locked(folder):
        begin(config, folder, space, splits)
        records, outcome = [], None
        while True:
            number = len(records)
            place = folder / "trials" / str(number)
            record = recorded(place)
            if record is None or record["state"] == RUNNING:
                if number >= config.search:
                    break
                study = study_of(records, space, config.seed)
                trial = begin_trial(study, space, record, place)
                say(f"\ntrial {number} of {config.search}: {told(trial.params)}")
                record = train_trial(config, trial, run, place)
                say(f"trial {number}: {record['state']}")
            records.append(record)
            outcome = write_outcome(config, folder, records, space, script, model, criterion)
    if outcome is None:
        raise ValueError(f"--search: every trial diverged; see {folder / TRIALS}.")
    print("\n" + table(records, space, criterion))
    best = f"trial {outcome['trial']}, {criterion} {outcome['valid']:.5f} on validation"
    say(f"\n{best}; --config {folder / BEST} trains it again, and scores the test rows")
    return outcome


def begin(config, folder: Path, space: Mapping, splits) -> None:
    """search.json.  Raises ValueError: the folder is that of another search, or of a run."""
    path, remedy = folder / SEARCH, "choose another --save_dir, or --overwrite it"
    space = {name: list(values) for name, values in space.items()}
    description = {"options": dataclasses.asdict(config), "space": space}
    description["data"] = {"fingerprint": fingerprint(splits)}
    if (folder / "config.json").exists():
        raise ValueError(f"{folder} holds a run; choose another --save_dir for --search.")
    if config.overwrite:
        for name in (SEARCH, BEST, TRIALS):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "trials", ignore_errors=True)
    elif path.exists():
        had = read_json(path, _SEARCH_FORM, remedy)
        different = difference(had, description, CHANGEABLE_WHEN_FINISHED)
        if different is None and had["space"] != space:
            different = f"the space {had['space']}, this one {space}"
        if different is not None:
            raise ValueError(f"{folder} holds a search that had {different}; {remedy}.")
    elif (folder / "trials").exists():
        raise ValueError(f"{folder} holds trials, and has lost its {SEARCH}; {remedy}.")
    write_json(path, description)


def recorded(place: Path) -> dict | None:
    """The trial.json of a trial, None before its beginning."""
    path = place / TRIAL
    return read_json(path, _FORM, "remove the folder of the file") if path.exists() else None


def record_trial(place: Path, options: Mapping, state: str, run=None) -> None:
    """trial.json; run: of a trial with figures."""
    values, best_epoch = ([], 0) if run is None else (run.values, run.best_epoch)
    record = {"options": options, "state": state, "values": values, "best_epoch": best_epoch}
    write_json(place / TRIAL, record, sealed=True)


def distributions(space: Mapping) -> dict:
    """The space in Optuna's words."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return {
        name: FloatDistribution(*values, log=True)
        if isinstance(values, tuple)
        else CategoricalDistribution(values)
        for name, values in space.items()
    }


def study_of(records: Sequence[Mapping], space: Mapping, seed: int):
    """Optuna's study after these trials, as it is for the next one, whatever process asks."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Not seed + number: searches of neighbouring seeds would share their draws.
    draws = np.random.SeedSequence([seed, len(records)])
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=int(draws.generate_state(1)[0])),
        pruner=optuna.pruners.MedianPruner(STARTUP_TRIALS, WARMUP_EPOCHS),
    )
    states = optuna.trial.TrialState
    for record in records:
        best = list(accumulate(record["values"], max))
        trial = optuna.trial.create_trial(
            # Of a pruned trial without any figure, Optuna takes it that none is worse.
            state=states.COMPLETE if record["state"] == COMPLETE else states.PRUNED,
            params=record["options"],
            distributions=distributions(space),
            value=best[-1] if best else None,
            intermediate_values=dict(enumerate(best)),
        )
        study.add_trial(trial)
    return study


def begin_trial(study, space: Mapping, record: Mapping | None, place: Path):
    """Optuna's next trial; record: of one that was interrupted, which keeps its options."""
    if record is not None:
        study.enqueue_trial(record["options"])
    trial = study.ask(distributions(space))
    record_trial(place, trial.params, RUNNING)
    return trial


def train_trial(config, trial, run: Callable, place: Path) -> dict:
    """Train a trial of the search in its folder and a process of its own; its record."""
    own = dict(save_dir=str(place), resume=True, overwrite=False, search=0)
    options = dataclasses.replace(config, **trial.params, **own)
    in_child(partial(train, options, trial, run), place.name)
    return recorded(place)


def train(config, trial, run: Callable) -> None:
    """Train a trial to its end; its record."""
    from optuna import TrialPruned

    from hamur.training.divergence import DivergenceError
    from hamur.training.evaluation import CollapseError

    place, best, last = Path(config.save_dir), [], None

    def after_epoch(run) -> None:
        nonlocal last
        last = run
        for value in list(accumulate(run.values, max))[len(best) :]:
            trial.report(value, len(best))
            best.append(value)
        if trial.should_prune():
            raise TrialPruned

    try:
        last, state = run(config, after_epoch), COMPLETE
        if last.interrupted:
            raise KeyboardInterrupt
    except TrialPruned:
        state = PRUNED
    except (DivergenceError, CollapseError):
        last, state = None, DIVERGED
    record_trial(place, trial.params, state, last)
    shutil.rmtree(place / "last", ignore_errors=True)  # moments: twice as large as the weights


def in_child(work: Callable[[], None], name: str) -> None:
    """Do the work of a trial in a forked process, which ends with this one.

    Raises:  ValueError: what the work raised, or that the process was ended.
    """
    if not hasattr(os, "fork"):  # Windows
        return work()
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(
        target=_work, args=(work, sender, os.getpid())
    )
    child.start()
    child.join()
    if receiver.poll():
        raise ValueError(receiver.recv())
    if child.exitcode:
        raise ValueError(
            f"the process of trial {name} ended with {child.exitcode}; the same command "
            "continues the search."
        )


def _work(work: Callable[[], None], sender, parent: int) -> None:
    """What the process does."""
    end_with(parent)
    try:
        work()
    except (ValueError, OSError) as error:
        sender.send(str(error))
    finally:
        release()
