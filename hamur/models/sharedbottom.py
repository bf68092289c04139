"""sharedbottom: one bottom network, a tower per task (Caruana 1997)."""

from hamur.models.multi_task import MultiTaskModel


class SharedBottom(MultiTaskModel):
    """h = Ex(e);  z_k = Tw_k(h)."""

    def add_layers(self, rng):
        self.bottom = self.make_experts(rng, 1)
        self.towers = self.make_towers(rng)
        self.mask_widths += [*self.bottom.widths, *self.config.tower_dims]

    def tasks(self, instance, layout, keep):
        bottom_keep, tower_keep = self.bottom.masks(keep)
        hidden = self.bottom.on_instance(self.embedding, instance, layout, bottom_keep)
        return self.towers((hidden,) * self.num_tasks, layout, tower_keep)
