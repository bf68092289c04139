"""sharedbottom: one bottom network, a tower a task (Caruana 1997)."""

from hamur.layers.experts import ExpertStack
from hamur.layers.routing import single_layout
from hamur.models.multi_task import MultiTaskModel, TaskTowers


class SharedBottom(MultiTaskModel):
    """h = Ex(e);  z_k = Tw_k(h)."""

    def add_layers(self, rng):
        config = self.config
        self.bottom = ExpertStack(rng, self.instance_width, config.expert_dims, 1, config.dropout)
        self.towers = TaskTowers(
            rng, config.expert_dims[-1], config.tower_dims, self.num_tasks, config.dropout
        )
        self.mask_widths += [*self.bottom.widths, *config.tower_dims]

    def tasks(self, instance, weight, keep):
        bottom_keep, tower_keep = self.bottom.masks(keep)
        layout = single_layout(None, weight)
        hidden = self.bottom.on_instance(self.embedding, instance, layout, bottom_keep)
        return self.towers((hidden,) * self.num_tasks, weight, tower_keep)
