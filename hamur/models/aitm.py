"""aitm: adaptive information transfer along the funnel of tasks (Xi et al., KDD 2021)."""

from mindspore import nn, ops

from hamur.layers.experts import ExpertStack, columns
from hamur.layers.preference import PlainDense
from hamur.layers.routing import single_layout
from hamur.models.multi_task import MultiTaskModel, TaskTowers


class AdaptiveTransfer(MultiTaskModel):
    """f_k = Ex_k(e); for k = 2..T: f_k <- attention over the tokens [Dense_k(f_{k-1}) ; f_k], where
    f_{k-1} is the updated one and the three attention maps are shared by the tasks; z_k =
    Tw_k(f_k).
    """

    def add_layers(self, rng):
        config, width = self.config, self.config.expert_dims[-1]
        self.bottoms = ExpertStack(
            rng, self.instance_width, config.expert_dims, self.num_tasks, config.dropout
        )
        transfers = [PlainDense(rng, width, width) for _ in range(self.num_tasks - 1)]
        self.transfers = nn.CellList(transfers)
        self.value, self.key, self.query = (PlainDense(rng, width, width) for _ in range(3))
        self.towers = TaskTowers(rng, width, config.tower_dims, self.num_tasks, config.dropout)
        self.mask_widths += [*self.bottoms.widths, *config.tower_dims]
        self.scale = float(width**-0.5)

    def tasks(self, instance, weight, keep):
        bottom_keep, tower_keep = self.bottoms.masks(keep)
        layout = single_layout(None, weight)
        wide = self.bottoms.on_instance(self.embedding, instance, layout, bottom_keep)
        features = columns(wide, self.num_tasks)
        updated = (features[0],)
        for task in range(1, self.num_tasks):
            passed = self.transfers[task - 1](updated[task - 1])
            updated = updated + (self.attend(passed, features[task]),)
        return self.towers(updated, weight, tower_keep)

    def attend(self, passed, own):
        """softmax over two tokens of (K . Q) / sqrt(width), applied to their values."""
        scores, values = (), ()
        for token in (passed, own):
            score = (self.key(token) * self.query(token)).sum(-1, keepdims=True)
            scores = scores + (score * self.scale,)
            values = values + (self.value(token),)
        share = ops.softmax(ops.concat(scores, 1), -1)
        return share[:, 0:1] * values[0] + share[:, 1:2] * values[1]
