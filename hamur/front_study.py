"""Does a preference reach the front?  Generated data whose exact front is known; one table of arms.

    reference           a model a preference, linear weights: what the network can reach
    linear, smooth_...  one preference model, preset "pareto", head shared_score
    per_task            the same with a tower a task: no trade-off to steer, so no claim of control
    published           the public code's network and loss on the same rows
    single task         one model a task, equal budget: what per_task is held against

Losses are expected ones under the true probabilities of the test rows, so that label noise is not
in them.  An arm whose result is on disk is not trained again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from hamur import fronts
from hamur.config import check_fields, data_flag, model_flag, run_flag, training_flag
from hamur.reporting import results, tables
from hamur.run import run_script, select_device

SIZES = dict(embed_dim=16, num_experts=4, expert_dims=(64, 32), tower_dims=(32, 16), dropout=0.0)
ARMS = ("linear", "smooth_tchebycheff", "published", "per_task")
# What an arm of head shared_score must reach, by number of tasks: Spearman, share of the
# reference's hypervolume, share of its span, mean regret, share of non-dominated points.
REQUIRED = {2: (0.95, 0.97, 0.8, 0.01, 0.8), 3: (0.90, 0.95, 0.8, 0.01, 0.8)}
STEERED = ("linear", "smooth_tchebycheff", "tchebycheff", "cosmos", "hypervolume")


@dataclass(frozen=True)
class StudyConfig:
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
    seeds: int = training_flag(3, "seeds of data and training, counted from 0", at_least=1)
    epoch: int = training_flag(15, "passes over the training rows", at_least=1)
    patience: int = training_flag(3, "epochs without gain on validation", at_least=1)
    batch_size: int = training_flag(512, "rows of a training step", at_least=2)
    learning_rate: float = training_flag(2e-3, "step size of Adam", above=0)
    preferences_per_step: int = training_flag(8, "preferences of a step", at_least=1)
    device: str = run_flag("cpu", "cpu, gpu or ascend, with a card as in ascend:1")
    save_dir: str = run_flag("runs/front_study", "folder of the results; also what is reused")
    quiet: bool = run_flag(False, "print the table only")
    debug: bool = run_flag(False, "show the traceback of an error in data or options")

    def __post_init__(self):
        check_fields(self)
        for arm in self.arm_names:
            if arm not in (*STEERED, *ARMS):
                raise ValueError(
                    f"--arms names {arm!r}; known are {', '.join((*STEERED, *ARMS[2:]))}."
                )
        if "published" in self.arm_names and self.task_num != 2:
            raise ValueError("--arms published has two tasks built in; leave it out.")

    @property
    def arm_names(self) -> list[str]:
        return self.arms.split(",")


def main(script: str, description: str, argv: Sequence[str] | None = None, **defaults) -> int:
    """Run the script: flags, then `run_study`.  Exit codes as those of `hamur.run.main`."""
    go_on = "started again, it goes on with what is missing"
    return run_script(
        StudyConfig, lambda c, _: run_study(c), script, description, argv, go_on, **defaults
    )


def run_study(config: StudyConfig) -> dict:
    """Train what is missing in --save_dir and write study.md and study.json; returns the latter."""
    select_device(config.device)
    folder = Path(config.save_dir)
    content = {"options": dict(vars(config)), "seeds": []}
    for seed in range(config.seeds):
        study = Study(config, seed, folder / f"tasks{config.task_num}-seed{seed}")
        content["seeds"].append(study.run())
    header, rows = summary(content, config.task_num)
    text = tables.markdown_table(header, rows)
    with results.replacing(folder / f"study-tasks{config.task_num}.md") as temporary:
        temporary.write_text(text + "\n")
    results.write_json(folder / f"study-tasks{config.task_num}.json", content)
    print(tables.text_table(header, rows))
    return content


class Study:
    """All arms of one seed."""

    def __init__(self, config, seed, folder):
        from hamur import task_training
        from hamur.data.task_conflict import make_task_conflict
        from hamur.training.preference_samplers import evaluation_preferences

        self.config, self.seed, self.folder = config, seed, folder
        self.splits, self.schema, truth = make_task_conflict(
            config.rows, config.task_num, config.conflict, seed=seed
        )
        self.truth = truth.test
        self.entropy = task_training.training_entropy(self.splits, self.schema)
        self.offsets = task_training.score_offsets(self.splits.train.labels)
        self.preferences = evaluation_preferences(config.task_num, config.points)

    def run(self) -> dict:
        from hamur.data.exact_front import exact_front

        exact, _ = exact_front(self.truth.probability, self.offsets, self.preferences, self.entropy)
        reference = self.kept("reference", self.train_reference)
        found = {"exact": exact.tolist(), "reference": reference, "arms": {}}
        for arm in self.config.arm_names:
            found["arms"][arm] = self.kept(arm, partial(self.train_arm, arm))
        if "per_task" in found["arms"]:
            found["single_task"] = self.kept("single_task", self.train_single)
        return found | {"measures": self.measures(found)}

    def kept(self, name, train):
        """The NE of an arm from disk, or trained now."""
        path = self.folder / f"{name}.json"
        asked = {k: v for k, v in vars(self.config).items() if k not in FREE}
        if path.exists():
            stored = json.loads(path.read_text())
            if stored["options"] == asked:
                return stored["losses"]
        losses = train()
        results.write_json(path, {"options": asked, "losses": losses})
        if not self.config.quiet:
            print(f"seed {self.seed}: {name} done", flush=True)
        return losses

    def train_reference(self):
        return [
            self.train("linear", "shared_score", tuple(r))[0] for r in self.preferences.tolist()
        ]

    def train_arm(self, arm):
        if arm == "published":
            return self.train("published", None)
        if arm == "per_task":
            return self.train("linear", "per_task")
        return self.train(arm, "shared_score")

    def train_single(self):
        """NE of each task by a model that trains for it alone."""
        corners = np.eye(self.config.task_num).tolist()
        return [self.train("linear", "per_task", tuple(r))[0][k] for k, r in enumerate(corners)]

    def train(self, scalarisation, head, fixed=None):
        """Train one model; NE (R, T) as lists at all preferences, or at the fixed one."""
        from mindspore import Tensor

        from hamur import models, training
        from hamur.data.exact_front import oracle_losses
        from hamur.training.predict import graph_mode, predictor_of

        config, published = self.config, scalarisation == "published"
        network = models.MultiTaskConfig(**SIZES)
        network = replace(network, preset="published") if published else replace(network, head=head)
        model = models.MULTI_TASK["pomoe"](self.schema, config=network, seed=self.seed + 1)
        if head == "shared_score":
            model.offsets.set_data(Tensor(self.offsets.astype(np.float32)))
        steps = -(-len(self.splits.train) // config.batch_size)
        options = training.PreferenceOptions(
            tuple(self.entropy),
            config.epoch * steps,
            scalarisation=scalarisation,
            sampler="dirichlet" if published else "annealed",
            number=1 if published else config.preferences_per_step,
            dirichlet_alpha=(1.0, 1.2) if published else None,
            loss_norm="none" if published else "entropy",
            fixed=fixed,
        )
        judged = self.preferences if fixed is None else np.array([fixed], np.float32)
        evaluation = partial(
            training.TaskEvaluation, preferences=judged, entropy=self.entropy, weights=fixed
        )
        trainer = training.Trainer(
            partial(training.preference_step, options=options),
            epochs=config.epoch,
            batch_size=config.batch_size,
            seed=self.seed,
            learning_rate=config.learning_rate,
            weight_decay=1e-6,
            patience=config.patience,
            criterion="auc_hypervolume" if published else CRITERIA[fixed is None],
            evaluation=evaluation,
            quiet=True,
        )
        trainer.fit(model, self.splits.train, self.splits.valid)
        with graph_mode():
            logits = predictor_of(model).logits(self.splits.test, judged)
        q = self.truth.probability
        losses = [oracle_losses(logits[:, r], q) / self.entropy for r in range(len(judged))]
        return [row.tolist() for row in losses]

    def measures(self, found):
        """{arm: measures}, the reference's own and the exact front's beside them."""
        reference, exact = np.array(found["reference"]), np.array(found["exact"])
        one = np.ones(self.config.task_num)
        volumes = [fronts.hypervolume(points, one) for points in (reference, exact)]
        known = np.vstack([reference, *(np.array(a) for a in found["arms"].values())])
        measured = {}
        for arm, losses in {"reference": reference, "exact": exact, **found["arms"]}.items():
            losses = np.array(losses)
            entry = fronts.front_measures(
                self.preferences, losses, np.full_like(losses, np.nan), known
            )
            entry["hv_fraction"] = entry["hv_ne"] / volumes[0]
            entry["hv_fraction_exact"] = entry["hv_ne"] / volumes[1]
            spans = np.array(fronts.span(reference))
            entry["span_fraction"] = (np.array(entry["span_ne"]) / spans).tolist()
            measured[arm] = entry
        if "single_task" in found:
            gap = np.abs(np.array(found["arms"]["per_task"]) - np.array(found["single_task"]))
            measured["per_task"]["largest_gap_to_single_task"] = float(gap.max())
        return measured


FREE = ("arms", "seeds", "device", "save_dir", "quiet", "debug")
CRITERIA = {True: "hypervolume", False: "weighted_loss"}


def summary(content, tasks) -> tuple:
    """Header and rows of the table: the worst figure over seeds in each cell."""
    header = ["arm", "Spearman", "hv / reference", "hv / exact", "span / reference"]
    header += ["regret", "non-dominated", "required figures"]
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
        row += [f"{figures[3]:.4f}", f"{figures[4]:.2f}", verdict(arm, figures, tasks)]
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
