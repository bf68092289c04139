"""aitm: adaptive information transfer along the funnel of tasks (Xi et al., KDD 2021)."""

from mindspore import nn, ops

from hamur.layers.experts import columns
from hamur.layers.preference import PlainDense
from hamur.models.multi_task import MultiTaskModel


class AdaptiveTransfer(MultiTaskModel):
    """f_k = Ex_k(e); for k = 2..T: f_k <- attention over [Dense_k(f_{k-1}) ; f_k]; z_k = Tw_k(f_k).

    f_{k-1} is the updated one; the three attention maps are shared by the tasks.
    """

    def add_layers(self, rng):
        width = self.config.expert_dims[-1]
        self.bottoms = self.make_experts(rng, self.num_tasks)
        transfers = [PlainDense(rng, width, width) for _ in range(self.num_tasks - 1)]
        self.transfers = nn.CellList(transfers)
        self.value, self.key, self.query = (PlainDense(rng, width, width) for _ in range(3))
        self.towers = self.make_towers(rng)
        self.mask_widths += [*self.bottoms.widths, *self.config.tower_dims]
        self.scale = float(width**-0.5)

    def tasks(self, instance, layout, keep):
        bottom_keep, tower_keep = self.bottoms.masks(keep)
        wide = self.bottoms.on_instance(self.embedding, instance, layout, bottom_keep)
        features = columns(wide, self.num_tasks)
        updated = (features[0],)
        for task in range(1, self.num_tasks):
            passed = self.transfers[task - 1](updated[task - 1])
            updated = updated + (self.attend(passed, features[task]),)
        return self.towers(updated, layout, tower_keep)

    def attend(self, passed, feature):
        """softmax over two tokens of (K . Q) / sqrt(width), applied to their values."""
        scores, values = (), ()
        for token in (passed, feature):
            score = (self.key(token) * self.query(token)).sum(-1, keepdims=True)
            scores = scores + (score * self.scale,)
            values = values + (self.value(token),)
        share = ops.softmax(ops.concat(scores, 1), -1)
        return share[:, 0:1] * values[0] + share[:, 1:2] * values[1]
