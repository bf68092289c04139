"""omoe, mmoe: mixtures of experts with one gate, or a gate per task (Ma et al., KDD 2018)."""

from hamur.layers.experts import InstanceGates, mix
from hamur.models.multi_task import MultiTaskModel


class OneGateMixture(MultiTaskModel):
    """g = softmax(Dense(e));  h = sum_i g_i Ex_i(e);  z_k = Tw_k(h)."""

    gate_per_task = False

    def add_layers(self, rng):
        experts, gates = self.config.num_experts, self.num_tasks if self.gate_per_task else 1
        self.experts = self.make_experts(rng, experts)
        self.gates = InstanceGates(rng, self.instance_width, experts, gates)
        self.towers = self.make_towers(rng)
        self.mask_widths += [*self.experts.widths, *self.config.tower_dims]

    def tasks(self, instance, layout, keep):
        expert_keep, tower_keep = self.experts.masks(keep)
        wide = self.experts.on_instance(self.embedding, instance, layout, expert_keep)
        outputs = self.experts.apart(wide)
        mixed = mix(self.gates(self.embedding, instance), outputs)  # (B, G, H)
        inputs = tuple([mixed[:, t if self.gate_per_task else 0] for t in range(self.num_tasks)])
        return self.towers(inputs, layout, tower_keep)


class MultiGateMixture(OneGateMixture):
    """g^k = softmax(Dense_k(e));  h^k = sum_i g^k_i Ex_i(e);  z_k = Tw_k(h^k)."""

    gate_per_task = True
