"""What a search ends in: best.json, trials.csv and the table on the terminal."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hamur.config import OF_A_CALL
from hamur.files import write_history, write_json
from hamur.reporting.tables import text_table

BEST, TRIALS = "best.json", "trials.csv"
COMPLETE = "complete"  # the state of a trial that was neither pruned nor diverged


def write_outcome(
    config, folder: Path, records: Sequence[Mapping], space: Mapping, script, model, criterion
) -> dict | None:
    """trials.csv, and best.json where a trial is complete; returns the latter.

    Nothing in them depends on the time, the machine's load, or interruptions.
    """
    rows = [
        {
            "trial": number,
            "state": record["state"],
            criterion: figure(record, criterion),
            "best_epoch": record["best_epoch"],
            "epochs": len(record["values"]),
        }
        | record["options"]
        for number, record in enumerate(records)
    ]
    write_history(folder / TRIALS, rows)
    complete = [n for n, record in enumerate(records) if record["state"] == COMPLETE]
    if not complete:
        return None
    best = max(complete, key=lambda number: max(records[number]["values"]))
    options = vars(config) | records[best]["options"]
    outcome = {
        "script": script,
        "model": model,
        "trial": best,
        "trials": len(records),
        "criterion": criterion,
        "valid": figure(records[best], criterion),
        "best_epoch": records[best]["best_epoch"],
        "space": space,
        "options": {
            field.name: options[field.name]
            for field in dataclasses.fields(config)
            if field.name not in OF_A_CALL and options[field.name] is not None
        },
    }
    write_json(folder / BEST, outcome)
    return outcome


def figure(record: Mapping, criterion: str) -> float | None:
    """The best validation figure of a trial, None of one that diverged."""
    from hamur.training.evaluation import LESS_IS_BETTER

    if not record["values"]:
        return None
    return max(record["values"]) * (-1 if criterion in LESS_IS_BETTER else 1)


def table(records: Sequence[Mapping], space: Mapping, criterion: str) -> str:
    """All trials, the best first."""

    def worst_last(number: int) -> float:
        return -max(records[number]["values"], default=-np.inf)

    rows = []
    for number in sorted(range(len(records)), key=worst_last):
        record, value = records[number], figure(records[number], criterion)
        shown = [str(number), record["state"], "-" if value is None else f"{value:.5f}"]
        shown += [str(record["best_epoch"]), str(len(record["values"]))]
        rows.append([*shown, *(f"{record['options'][name]:.4g}" for name in space)])
    return text_table(["trial", "state", criterion, "best epoch", "epochs", *space], rows, left=2)


def told(options: Mapping) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in options.items())
