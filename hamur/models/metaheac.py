"""metaheac: a hybrid of experts and critics with meta-learnt task embeddings (Zhu et al., KDD
2021)."""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from hamur.layers.experts import ExpertStack, columns, mix
from hamur.layers.norm import EPSILON, MOMENTUM
from hamur.layers.parameters import bias, kernel, spared
from hamur.layers.preference import PlainDense
from hamur.layers.primitives import matmul, softplus
from hamur.layers.routing import WEIGHTS, single_layout
from hamur.models.multi_task import MultiTaskModel

NUM_CRITICS = 5
META_ORDERS = ("second", "first", "none")


class BatchNorm(nn.Cell):
    """relu(gamma (x - mean) / sqrt(var + 1e-5) + beta) over the rows of weight 1.

    `DomainBatchNorm` holds its own backward pass, which treats the statistics as given: right for a
    gradient, wrong for the gradient of a gradient.  Here all is left to automatic differentiation.

    Inputs:  xs tuple of one (B, H), layout of kind "single", bias (1, H) of the preceding product.
    Outputs: tuple of one (B, H).
    """

    def __init__(self, width):
        super().__init__()
        zeros = np.zeros((1, width), np.float32)
        self.gamma = spared(zeros + 1, "gamma")
        self.beta = spared(zeros, "beta")
        self.mean = Parameter(Tensor(zeros), name="mean", requires_grad=False)
        self.variance = Parameter(Tensor(zeros + 1), name="variance", requires_grad=False)

    def construct(self, xs, layout, bias):
        x, weight = xs[0] + bias, layout[WEIGHTS][0]
        if self.training:
            total = weight.sum()
            share = weight / total  # (1, B)
            mean = matmul(share, x)
            centred = x - matmul(ops.ones_like(weight).reshape(-1, 1), mean)
            variance = matmul(share, centred * centred)
            self.move(mean, variance * (total / ops.maximum(total - 1.0, Tensor(1.0, ms.float32))))
        else:
            mean, variance = self.mean, self.variance
            centred = x - mean
        scale = self.gamma * ops.rsqrt(variance + EPSILON)
        return (ops.relu(centred * scale + self.beta),)

    def move(self, mean, variance):
        ops.assign_add(self.mean, ops.stop_gradient(MOMENTUM * (mean - self.mean)))
        ops.assign_add(self.variance, ops.stop_gradient(MOMENTUM * (variance - self.variance)))


class TaskGate(nn.Cell):
    """softmax(Dense([Z_k ; m])) for every task k, one Dense for all tasks.

    Inputs:  task_embedding Z (T, E), mean token m (B, E).   Outputs: (B, T, X).
    """

    def __init__(self, rng, embed_dim, num_outputs):
        super().__init__()
        self.weight = kernel(rng, (2 * embed_dim, num_outputs), 2 * embed_dim)
        self.bias = bias(rng, num_outputs, 2 * embed_dim)
        self.embed_dim = embed_dim

    def construct(self, task_embedding, mean_token):
        by_task = matmul(task_embedding, self.weight[: self.embed_dim]) + self.bias
        by_row = matmul(mean_token, self.weight[self.embed_dim :])
        return ops.softmax(by_row.expand_dims(1) + by_task.expand_dims(0), -1)


class MetaHeac(MultiTaskModel):
    """h^k = sum_i g^k_i Ex_i(e);  P_k = sum_j c^k_j sigmoid(critic_j(h^k)),  u_k = [Z_k ; mean
    token].

    The public code takes the mean over critics of c_j sigmoid(...), so that P <= 1/5; preset
    "official" does too.  Logits are formed without leaving the log domain, so that they can be
    differentiated twice.  ``task_embedding`` is an argument because the inner step of the
    meta-learning replaces it; by default it is the parameter Z.
    """

    def add_layers(self, rng):
        config = self.config
        if config.meta_order not in META_ORDERS:
            raise ValueError(
                f"`meta_order` is {config.meta_order!r}; known are {', '.join(META_ORDERS)}."
            )
        dims, rate = config.tower_dims, config.dropout
        tasks = rng.standard_normal((self.num_tasks, config.embed_dim)).astype(np.float32)
        self.task_embedding = Parameter(Tensor(tasks), name="task_embedding")
        self.experts = self.make_experts(rng, config.num_experts, norm=BatchNorm)
        self.expert_gate = TaskGate(rng, config.embed_dim, config.num_experts)
        self.critic_gate = TaskGate(rng, config.embed_dim, NUM_CRITICS)
        self.critics = ExpertStack(
            rng, config.expert_dims[-1], dims, NUM_CRITICS, rate, norm=BatchNorm
        )
        self.outputs = nn.CellList([PlainDense(rng, dims[-1], 1) for _ in range(NUM_CRITICS)])
        self.mask_widths += [*self.experts.widths, *self.critics.widths]

    def construct(self, sparse, dense, weight=None, keep=(), task_embedding=None):
        if weight is None:
            weight = ops.ones_like(dense[:, 0])
        if task_embedding is None:
            task_embedding = self.task_embedding
        expert_keep, critic_keep = self.experts.masks(keep)
        outputs, mean_token = self.shared(sparse, dense, weight, expert_keep)
        return self.from_shared(task_embedding, outputs, mean_token, weight, critic_keep)

    def shared(self, sparse, dense, weight, keep=()):
        """What the tasks' embedding has no part in: expert outputs (B, X, H), mean token (B, E)."""
        instance = self.embedding(sparse, dense)
        layout = single_layout(None, weight)
        outputs = self.experts.on_instance(self.embedding, instance, layout, keep)
        return self.experts.apart(outputs), self.embedding.mean_token(instance)

    def from_shared(self, task_embedding, outputs, mean_token, weight, keep=()):
        """Logits (B, T) for task embeddings Z (T, E)."""
        layout = single_layout(None, weight)
        mixed = mix(self.expert_gate(task_embedding, mean_token), outputs)  # (B, T, H)
        shares = self.critic_gate(task_embedding, mean_token)
        logits = ()
        for task in range(self.num_tasks):
            critic_logits = self.criticise(mixed[:, task], layout, keep)
            logits = logits + (self.combine(shares[:, task], critic_logits),)
        return ops.concat(logits, 1)

    def criticise(self, hidden, layout, keep):
        """Logits (B, 5) of the critics; their statistics move once per task, as in the
        public code."""
        wide = self.critics(matmul(hidden, self.critics.layers[0].weight), layout, keep)
        logits = tuple([output(x) for output, x in zip(self.outputs, columns(wide, NUM_CRITICS))])
        return ops.concat(logits, 1)

    def combine(self, shares, logits):
        """Logit (B, 1) of P = sum_j c_j sigmoid(l_j)."""
        log_shares = ops.log(shares)
        log_true = log_sum_exp(log_shares + log_sigmoid(logits))
        if self.config.preset == "official":
            log_mean = log_true - float(np.log(NUM_CRITICS))
            return log_mean - ops.log1p(-ops.exp(log_mean))
        return log_true - log_sum_exp(log_shares + log_sigmoid(-logits))


def log_sigmoid(x):
    """log(1 / (1 + e^-x))."""
    return -softplus(-x)


def log_sum_exp(x):
    """Over the last axis, which stays."""
    largest = ops.stop_gradient(x.max(-1, keepdims=True))
    return largest + ops.log(ops.exp(x - largest).sum(-1, keepdims=True))
