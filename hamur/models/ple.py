"""ple: progressive layered extraction (Tang et al., RecSys 2020)."""

from itertools import pairwise

from mindspore import nn, ops

from hamur.layers.experts import DenseGate, ExpertLayer, InstanceGates, columns, mix
from hamur.models.multi_task import MultiTaskModel


class ProgressiveLayeredExtraction(MultiTaskModel):
    """Levels of experts, S = int(X/2) shared ones and as many specific to each task.

    t^k <- gate over [specific of k | shared];  s <- gate over [specific of 1..T | shared];
    z_k = Tw_k(t^k).  On the first level all inputs are e.  The last level has no shared gate (the
    public code builds one that nothing reads).
    Raises:  ValueError: num_experts < 2.
    """

    def add_layers(self, rng):
        config, tasks, width = self.config, self.num_tasks, self.instance_width
        if config.num_experts < 2:
            raise ValueError(
                f"`num_experts` must be at least 2 for ple (half of them are shared), got "
                f"{config.num_experts}."
            )
        half = self.half = config.num_experts // 2
        total = self.total = half * (tasks + 1)
        dims, rate = config.expert_dims, config.dropout
        self.first = ExpertLayer(rng, width, dims[0], total, rate, shared=True)
        self.first_gates = InstanceGates(rng, width, 2 * half, tasks)
        self.first_shared_gate = InstanceGates(rng, width, total, 1)
        later, gates, shared_gates = [], [], []
        for number, (inputs, outputs) in enumerate(pairwise(dims), start=1):
            later.append(ExpertLayer(rng, inputs, outputs, total, rate, shared=False))
            gates += [DenseGate(rng, inputs, 2 * half) for _ in range(tasks)]
            if number + 1 < len(dims):
                shared_gates.append(DenseGate(rng, inputs, total))
        self.later, self.gates = nn.CellList(later), nn.CellList(gates)
        self.shared_gates = nn.CellList(shared_gates)
        self.towers = self.make_towers(rng)
        self.levels = len(dims)
        self.mask_widths += [total * dim for dim in dims] + list(config.tower_dims)

    def tasks(self, instance, layout, keep):
        projected = self.embedding.project(instance, self.first.weight)
        outputs = self.first(projected, layout, keep[0] if keep else None)
        gates = columns(self.first_gates(self.embedding, instance), self.num_tasks)
        shared_gate = self.first_shared_gate(self.embedding, instance)
        inputs, shared = self.extract(outputs, gates, shared_gate)
        for level in range(1, self.levels):
            outputs = self.level(level, inputs, shared, layout, keep)
            gates = ()
            for task in range(self.num_tasks):
                gate = self.gates[(level - 1) * self.num_tasks + task]
                gates = gates + (gate(inputs[task]).expand_dims(1),)
            shared_gate = None
            if level + 1 < self.levels:
                shared_gate = self.shared_gates[level - 1](shared).expand_dims(1)
            inputs, shared = self.extract(outputs, gates, shared_gate)
        return self.towers(inputs, layout, keep[self.levels :] if keep else ())

    def level(self, number, inputs, shared, layout, keep):
        """The experts of a later level, each on its input."""
        xs = ()
        for x in inputs:
            xs = xs + (x,) * self.half
        xs = xs + (shared,) * self.half
        return self.later[number - 1](xs, layout, keep[number] if keep else None)

    def extract(self, outputs, gates, shared_gate):
        """(B, total * H) -> a tensor (B, H) per task, and the shared one (None at the end)."""
        outputs = outputs.reshape(-1, self.total, outputs.shape[1] // self.total)
        shared = outputs[:, self.num_tasks * self.half :]
        mixed = ()
        for task in range(self.num_tasks):
            specific = outputs[:, task * self.half : (task + 1) * self.half]
            mixed = mixed + (mix(gates[task], ops.concat((specific, shared), 1)).squeeze(1),)
        return mixed, None if shared_gate is None else mix(shared_gate, outputs).squeeze(1)
