"""omoe, mmoe: mixtures of experts with one gate, or a gate a task (Ma et al., KDD 2018)."""

from hamur.layers.experts import ExpertStack, InstanceGates, mix
from hamur.layers.routing import single_layout
from hamur.models.multi_task import MultiTaskModel, TaskTowers


class OneGateMixture(MultiTaskModel):
    """g = softmax(Dense(e));  h = sum_i g_i Ex_i(e);  z_k = Tw_k(h)."""

    gate_per_task = False

    def add_layers(self, rng):
        config, width = self.config, self.instance_width
        experts, gates = config.num_experts, self.num_tasks if self.gate_per_task else 1
        self.experts = ExpertStack(rng, width, config.expert_dims, experts, config.dropout)
        self.gates = InstanceGates(rng, width, experts, gates)
        self.towers = TaskTowers(
            rng, config.expert_dims[-1], config.tower_dims, self.num_tasks, config.dropout
        )
        self.mask_widths += [*self.experts.widths, *config.tower_dims]

    def tasks(self, instance, weight, keep):
        expert_keep, tower_keep = self.experts.masks(keep)
        layout = single_layout(None, weight)
        outputs = self.experts.on_instance(self.embedding, instance, layout, expert_keep)
        outputs = outputs.reshape(-1, self.experts.num_experts, self.experts.out_dim)
        mixed = mix(self.gates(self.embedding, instance), outputs)  # (B, G, H)
        inputs = ()
        for task in range(self.num_tasks):
            inputs = inputs + (mixed[:, task if self.gate_per_task else 0],)
        return self.towers(inputs, weight, tower_keep)


class MultiGateMixture(OneGateMixture):
    """g^k = softmax(Dense_k(e));  h^k = sum_i g^k_i Ex_i(e);  z_k = Tw_k(h^k)."""

    gate_per_task = True
