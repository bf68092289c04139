"""Does a preference reach the front?  Generated data whose exact front is known; one table of arms.

    reference           one model per preference, linear weights: what the network can reach
    linear, smooth_...  one preference model, preset "pareto", head shared_score
    per_task            the same with a tower per task: no trade-off to steer, so no claim of it
    official            the public code's network and loss on the same rows
    single task         one model per task, equal budget: what per_task is compared with
    posthoc             a shared score computed from per_task's probabilities: no hyper-network

Losses are expected ones under the true probabilities of the test rows, so that label noise is not
in them.  All but `official` are evaluated with averaged weights.  An arm whose result is
on disk is not trained again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hamur.commands.script import select_device
from hamur.config import data_flag, model_flag, shared, training_flag
from hamur.files import write_json, write_text
from hamur.reporting import tables
from hamur.studies import StudyOptions, run_script

ARMS = ("linear", "smooth_tchebycheff", "official", "per_task")
# What an arm of head shared_score must reach, by number of tasks: Spearman, share of the
# reference's hypervolume, share of its span, mean regret, share of non-dominated points.
REQUIRED = {2: (0.95, 0.97, 0.8, 0.01, 0.8), 3: (0.90, 0.95, 0.8, 0.01, 0.8)}
STEERED = ("linear", "smooth_tchebycheff", "tchebycheff", "cosmos", "hypervolume")


@dataclass(frozen=True)
class StudyConfig(StudyOptions):
    """Options of the front study.

    Raises:  ValueError: an unknown arm, or a number out of its range.
    """

    rows: int = data_flag(40_000, "rows to generate", at_least=1000)
    task_num: int = data_flag(2, "number of tasks", at_least=2)
    conflict: float = data_flag(0.25, "disagreement of the tasks, 0 to 0.5", at_least=0)
    points: int = data_flag(11, "preferences at which fronts are compared", at_least=2)
    arms: str = model_flag(
        ",".join(ARMS), f"of {', '.join((*STEERED, *ARMS[2:]))}, comma separated"
    )
    seed: int = shared(
        "seed", 3, help="the first of the seeds; the defaults of the model were chosen on 0 to 2"
    )
    epochs: int = shared("epochs", 16, help="maximum number of passes over the training rows")
    patience: int = shared("patience", 16)
    learning_rate: float = shared("learning_rate", 2e-3)
    weight_decay: float = training_flag(
        5e-4, "strength of the L2 term; of official always 1e-6, as in the public code", at_least=0
    )
    criterion: str = training_flag(
        "weighted_loss",
        "what picks the epoch of a preference model on validation, see TaskEvaluation; of models "
        "of one preference always weighted_loss",
        choices=("weighted_loss", "hypervolume"),
    )
    preferences_per_step: int = training_flag(8, "preferences of a step", at_least=1)
    sampler: str = training_flag(
        "angles", "preferences of a step", choices=("angles", "annealed", "grid", "dirichlet")
    )
    save_dir: str = shared("save_dir", "runs/front_study", default_text=None)

    def __post_init__(self):
        super().__post_init__()
        for arm in self.arm_names:
            if arm not in (*STEERED, *ARMS):
                raise ValueError(
                    f"--arms names {arm!r}; known are {', '.join((*STEERED, *ARMS[2:]))}."
                )
        if "official" in self.arm_names and self.task_num != 2:
            raise ValueError("--arms official has two tasks built in; leave it out.")

    @property
    def arm_names(self) -> list[str]:
        return self.arms.replace("published", "official").split(",")


def main(script: str, description: str, argv: Sequence[str] | None = None) -> int:
    """Run the script: flags, then `run_study`."""
    return run_script(StudyConfig, run_study, script, description, argv)


def run_study(config: StudyConfig) -> dict:
    """Train what is missing in --save_dir and write study-tasks<T>.md, .json and .png; returns
    the content of the second."""
    from hamur.reporting.plots import study_plot
    from hamur.studies.front_arms import SeedStudy

    select_device(config.device)
    folder, name = Path(config.save_dir), f"study-tasks{config.task_num}"
    content = {"options": dict(vars(config)), "seeds": []}
    for seed in range(config.seed, config.seed + config.seeds):
        study = SeedStudy(config, seed, folder / f"tasks{config.task_num}-seed{seed}")
        content["seeds"].append(study.run())
    header, rows = summary(content, config.task_num)
    write_text(folder / f"{name}.md", tables.markdown_table(header, rows))
    write_json(folder / f"{name}.json", content)
    study_plot(folder / f"{name}.png", content)
    print(tables.text_table(header, rows))
    return content


def summary(content, tasks) -> tuple:
    """Header and rows of the table: the worst figure over seeds in each cell."""
    header = ["arm", "Spearman", "hv / reference", "hv / exact", "span / reference"]
    header += ["regret", "non-dominated", "degenerate", "required figures"]
    rows, seeds = [], [entry["measures"] for entry in content["seeds"]]
    for arm in seeds[0]:
        entries = [seed[arm] for seed in seeds]
        correlation = [r for e in entries for r in e["spearman"]]
        spearman = None if None in correlation else min(correlation)
        figures = [
            spearman,
            min(e["hv_fraction"] for e in entries),
            min(min(e["span_fraction"]) for e in entries),
            max(e["regret"] for e in entries),
            min(e["nondominated_share"] for e in entries),
        ]
        exact = min(e["hv_fraction_exact"] for e in entries)
        row = [arm, "no spread" if spearman is None else f"{spearman:.3f}"]
        row += [f"{figures[1]:.3f}", f"{exact:.3f}", f"{figures[2]:.2f}"]
        flat = [e["front_degenerate"] for e in entries]
        flat = "" if None in flat else f"{sum(flat)} of {len(flat)}"
        row += [f"{figures[3]:.4f}", f"{figures[4]:.2f}", flat, verdict(arm, figures, tasks)]
        rows.append(row)
    return header, rows


def verdict(arm, figures, tasks) -> str:
    """Whether an arm that is meant to be steered reaches what it must."""
    if arm not in STEERED:
        return ""
    required = REQUIRED.get(tasks, REQUIRED[3])
    reached = figures[0] is not None and all(
        (f <= r) if i == 3 else (f >= r) for i, (f, r) in enumerate(zip(figures, required))
    )
    return "reached" if reached else "not reached"
