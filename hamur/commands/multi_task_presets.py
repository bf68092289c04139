"""What the presets of the multi-task script resolve its flags to, and which flags they refuse."""

import dataclasses

from hamur.config import fitting_batch

BATCH_SIZE = 2048
AVERAGING = 0.998

# Resolved where a flag is not given; flags that a preset does not know are refused.
PARETO = dict(
    head="per_task",
    gate="deep",
    expert_kind="mlp",
    tower_norm="conditional",
    scalarisation="linear",
    loss_norm="entropy",
    sampler="angles",
    preferences_per_step=8,
    eval_preferences=25,
)
PUBLISHED = dict(
    head="per_task",
    gate=None,
    expert_kind=None,
    tower_norm=None,
    scalarisation="published",
    loss_norm="none",
    sampler="dirichlet",
    preferences_per_step=1,
    eval_preferences=5,
)
PARETO_FLAGS = (
    *("head", "gate", "gate_anchor", "expert_kind", "tower_norm", "scalarisation", "sampler"),
    *("loss_norm", "anneal_power", "ideal", "preferences_per_step"),
)
PREFERENCE_FLAGS = (
    *PARETO,
    "gate_anchor",
    "anneal_power",
    "dirichlet_alpha",
    "ideal",
    "reference_front",
)
OWN_FLAGS = {"calibrator": ("aitm",), "meta_order": ("metaheac",)}


class TaskPresets:
    """The rules of `multi_task_config.TaskConfig`, whose fields they read."""

    def check_usage(self) -> None:
        """ValueError for a given flag that the chosen model and preset have no use for."""
        pomoe = self.model_name == "pomoe"
        for name in PREFERENCE_FLAGS:
            if getattr(self, name) is not None and not pomoe:
                raise ValueError(f"--{name} is for --model_name pomoe, not {self.model_name}.")
        for name, owners in OWN_FLAGS.items():
            if getattr(self, name) is not None and self.model_name not in owners:
                raise ValueError(f"--{name} is for {owners[0]}, not {self.model_name}.")
        if pomoe and self.preset == "published":
            for name in PARETO_FLAGS:
                if getattr(self, name) is not None:
                    raise ValueError(f"--{name} is for --preset pareto; published has its own.")
        self.check_unused()

    def check_unused(self):
        """Refuse flags that another flag has switched off."""
        if self.anneal_power is not None and (self.sampler or "angles") != "annealed":
            raise ValueError(
                f"--anneal_power is for --sampler annealed, not {self.sampler or 'angles'}."
            )
        published = self.model_name == "pomoe" and self.preset == "published"
        if self.dirichlet_alpha is not None and not published and self.sampler != "dirichlet":
            raise ValueError("--dirichlet_alpha is for --sampler dirichlet.")
        if self.ideal is not None and (self.scalarisation or "linear") == "linear":
            raise ValueError("--ideal is for the non-linear --scalarisation choices.")

    def numbers(self, name: str) -> tuple[float, ...] | None:
        """The numbers of a comma-separated flag."""
        text = getattr(self, name)
        if text is None:
            return None
        try:
            return tuple(float(part) for part in text.split(","))
        except ValueError:
            raise ValueError(f"--{name} is {text!r}; give numbers such as 1,1.2.") from None

    def check_numbers(self, tasks: int) -> None:
        """ValueError for a flag of one number a task that has another number of them."""
        for name in ("ideal", "dirichlet_alpha"):
            values = self.numbers(name)
            if values is not None and len(values) != tasks:
                raise ValueError(
                    f"--{name} is {getattr(self, name)!r}; give {tasks} numbers, one a task."
                )

    def resolved(self, script: str, train_rows: int) -> "TaskPresets":
        """A copy with the value that is used in place of every None that has one."""
        averaged = self.model_name == "pomoe" and self.preset == "pareto"
        defaults = dict(
            averaging=AVERAGING if averaged else 0.0,
            batch_size=fitting_batch(BATCH_SIZE, train_rows),
            init_seed=self.seed,
            save_dir=f"runs/{script}/{self.model_name}-{self.seed}",
        )
        if self.model_name == "aitm":
            defaults |= dict(calibrator=0.0)
        if self.model_name == "metaheac":
            defaults |= dict(meta_order="second")
        if self.model_name == "pomoe":
            defaults |= PUBLISHED if self.preset == "published" else PARETO
            defaults |= dict(anneal_power=2.0, reference_front=0)
            if self.preset == "published":
                defaults |= dict(dirichlet_alpha="1,1.2")
        missing = {k: v for k, v in defaults.items() if getattr(self, k) is None}
        return dataclasses.replace(self, **missing)
