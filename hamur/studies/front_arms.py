"""The arms of the front study on the rows of one seed; see `hamur.studies.fronts`."""

from functools import partial

import numpy as np
from mindspore import Tensor

from hamur import metrics, models, training
from hamur.commands.multi_task_config import AVERAGING
from hamur.commands.script import stop_if_interrupted
from hamur.commands.task_problem import logits_of, score_offsets
from hamur.data.synthetic.conflict import make_task_conflict
from hamur.metrics import fronts
from hamur.metrics.exact_front import exact_front, oracle_losses
from hamur.reporting import front
from hamur.same_run import load_or_train
from hamur.training.checkpoint import restore, snapshot
from hamur.training.preference.samplers import evaluation_preferences
from hamur.training.preference.step import RepeatedStep

SIZES = dict(embed_dim=16, expert_dims=(64, 32), tower_dims=(32, 16))
OFFICIAL_DECAY = 1e-6
OWN_TOWERS = ("official", "per_task")  # one tower per task: no point that one score could reach
RESAMPLES = 40  # of search pages, to tell a span from noise
EXPERTS = {2: 4}  # with more tasks: one for each corner, each edge from one to another, the centre
# Options that do not change a model of one preference.
OF_PREFERENCES = ("preferences_per_step", "sampler", "criterion")


class SeedStudy:
    """All arms of one seed."""

    def __init__(self, config, seed, folder):
        self.config, self.seed, self.folder = config, seed, folder
        self.splits, self.schema, truth = make_task_conflict(
            config.rows, config.task_num, config.conflict, seed=seed
        )
        self.truth = truth.test
        self.entropy = metrics.label_entropy(self.splits.train.labels, self.schema.labels)
        self.offsets = score_offsets(self.splits.train.labels)
        self.preferences = evaluation_preferences(config.task_num, config.points)

    def run(self) -> dict:
        """Train what is missing; the losses of every arm and their measures."""
        exact, _ = exact_front(self.truth.probability, self.offsets, self.preferences, self.entropy)
        content = {"preferences": self.preferences.tolist(), "exact": exact.tolist()}
        reference = self.arm("reference", self.train_reference, OF_PREFERENCES)
        content["reference"] = reference["losses"]
        content |= {"arms": {}, "front_degenerate": {}}
        for arm in self.config.arm_names:
            result = self.arm(arm, partial(self.train_arm, arm))
            content["arms"][arm] = result["losses"]
            content["front_degenerate"][arm] = result.get("front_degenerate")
            if "posthoc" in result:
                content["posthoc"] = result["posthoc"]
        if "per_task" in content["arms"]:
            single = self.arm("single_task", self.train_single, OF_PREFERENCES)
            content["single_task"] = single["losses"]
        return content | {"measures": self.measures(content)}

    def arm(self, name, train, changeable=()):
        """What train() returns, its NE as "losses" first of all; from disk where it was trained
        with the same options but the changeable ones."""

        def train_and_say():
            result = train()
            if not self.config.quiet:
                print(f"seed {self.seed}: {name} done", flush=True)
            return result

        options = {"options": self.config.fixed(*changeable)}
        return load_or_train(self.folder / name, options, train_and_say, (), replace=True)

    def train_reference(self):
        """NE of one model per preference."""
        return {"losses": self.train_fixed("shared_score", self.preferences)}

    def train_fixed(self, head, preferences):
        """NE (R, T) as lists of one model per preference, which never sees another."""
        model, repeated, losses = self.make_model("pareto", head), RepeatedStep(), []
        start = snapshot(model)
        for preference in np.asarray(preferences, np.float64).tolist():
            restore(model, start)
            losses += self.losses(self.train("linear", model, tuple(preference), repeated))
        return losses

    def train_arm(self, arm):
        """NE at all preferences, and whether their spans are noise; of per_task also the front
        that a shared score computed from its probabilities reaches."""
        head = "per_task" if arm in OWN_TOWERS else "shared_score"
        model = self.make_model("official" if arm == "official" else "pareto", head)
        logits = self.train("linear" if arm == "per_task" else arm, model)
        noise = front.bootstrap(
            self.preferences, logits, self.splits.test, self.entropy, RESAMPLES, self.seed
        )
        result = {"losses": self.losses(logits), "front_degenerate": noise["front_degenerate"]}
        if arm == "per_task":
            even = self.preferences.max(axis=1).argmin()
            scores = front.posthoc_logits(
                logits[:, even], self.preferences, self.offsets, self.entropy
            )
            result["posthoc"] = self.losses(scores)
        return result

    def train_single(self):
        """NE of each task by a model that trains for it alone."""
        losses = self.train_fixed("per_task", np.eye(self.config.task_num))
        return {"losses": np.diag(losses).tolist()}

    def make_model(self, preset, head="per_task"):
        """The network of one arm, the same initial values for all arms of its form."""
        tasks = self.config.task_num
        experts = EXPERTS.get(tasks, tasks + tasks * (tasks - 1) // 2 + 1)
        network = models.MultiTaskConfig(**SIZES, num_experts=experts, preset=preset, head=head)
        model = models.MULTI_TASK["pomoe"](self.schema, config=network, seed=self.seed + 1)
        if head == "shared_score":
            model.offsets.set_data(Tensor(self.offsets.astype(np.float32)))
        return model

    def train(self, scalarisation, model, fixed=None, step=training.preference_step):
        """Train one model; its logits (N, R, T) on the test rows, at all preferences or the fixed
        one."""
        config, official = self.config, scalarisation == "official"
        points = self.preferences if fixed is None else np.array([fixed], np.float32)
        criterion = config.criterion if fixed is None else "weighted_loss"
        trainer = training.Trainer(
            partial(step, options=self.options(scalarisation, fixed)),
            epochs=config.epochs,
            batch_size=config.batch_size,
            seed=self.seed,
            learning_rate=config.learning_rate,
            weight_decay=OFFICIAL_DECAY if official else config.weight_decay,
            averaging=0.0 if official else AVERAGING,
            patience=config.patience,
            criterion="auc_hypervolume" if official else criterion,
            evaluation=partial(
                training.TaskEvaluation, preferences=points, entropy=self.entropy, weights=points
            ),
            quiet=True,
        )
        stop_if_interrupted(trainer.fit(model, self.splits.train, self.splits.valid))
        return logits_of(model, self.splits.test, points)

    def losses(self, logits):
        """NE (R, T) as lists, expected under the true probabilities."""
        q = self.truth.probability
        losses = [oracle_losses(logits[:, r], q) / self.entropy for r in range(logits.shape[1])]
        return [row.tolist() for row in losses]

    def options(self, scalarisation, fixed):
        """How an arm's preferences and losses meet."""
        config = self.config
        steps = -(-len(self.splits.train) // config.batch_size)
        sampling = dict(number=config.preferences_per_step, sampler=config.sampler, fixed=fixed)
        if scalarisation == "official":
            sampling = dict(number=1, sampler="dirichlet", dirichlet_alpha=(1.0, 1.2))
            sampling["loss_norm"] = "none"
        return training.PreferenceOptions(
            tuple(self.entropy), config.epochs * steps, scalarisation=scalarisation, **sampling
        )

    def measures(self, content):
        """{arm: measures}; beside the arms the reference, the exact front and the post-hoc one.

        The regret is against every known point of a shared score but the exact front's.
        """
        fronts_of = {name: np.array(content[name]) for name in ("reference", "exact")}
        fronts_of |= {arm: np.array(losses) for arm, losses in content["arms"].items()}
        if "posthoc" in content:
            fronts_of["posthoc"] = np.array(content["posthoc"])
        others = np.vstack([v for k, v in fronts_of.items() if k not in ("exact", *OWN_TOWERS)])
        volumes = [
            fronts.hypervolume(fronts_of[name], np.ones(self.config.task_num)) or np.nan
            for name in ("reference", "exact")
        ]
        spans, measured = np.array(fronts.span(fronts_of["reference"])), {}
        for arm, losses in fronts_of.items():
            entry = fronts.front_measures(
                self.preferences, losses, np.full_like(losses, np.nan), others
            )
            entry["hv_fraction"] = entry["hv_ne"] / volumes[0]
            entry["hv_fraction_exact"] = entry["hv_ne"] / volumes[1]
            entry["span_fraction"] = (np.array(entry["span_ne"]) / spans).tolist()
            entry["front_degenerate"] = content["front_degenerate"].get(arm)
            measured[arm] = entry
        if "single_task" in content:
            gap = np.abs(fronts_of["per_task"] - np.array(content["single_task"]))
            measured["per_task"]["largest_gap_to_single_task"] = float(gap.max())
        return measured
