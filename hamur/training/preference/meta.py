"""The training step of MetaHeac: the task embeddings are meta-learnt (MAML, arXiv 1703.03400).

    Z'_b  = Z - 2e-4 dL(theta, Z; support_b)/dZ              support: first half of batch b
    outer = mean over two batches of L(theta, Z'_b; query_b)  query: the other half

and one update of all parameters, Z included, with the gradient of outer through Z'.  L is the mean
over tasks.  Nothing adapted is kept: evaluation always uses Z.
"""

from types import SimpleNamespace

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from hamur import workers
from hamur.layers.collectives import AllSum
from hamur.training.preference.objective import COLUMNS, task_losses
from hamur.training.supervised import CompiledStep, draw_masks

INNER_RATE = 2e-4
BATCHES_PER_UPDATE = 2
MIN_ROWS = 2  # real rows that a half batch needs


class EmbeddingLoss(nn.Cell):
    """L as a function of the task embedding Z (T, E), its first input, and of what does not depend
    on Z, which is therefore not differentiated twice."""

    def __init__(self, model):
        super().__init__(auto_prefix=False)
        self.model, self.all_sum = model, AllSum()

    def construct(self, task_embedding, outputs, mean_token, labels, weight, keep):
        logits = self.model.from_shared(task_embedding, outputs, mean_token, weight, keep)
        return task_losses(logits.expand_dims(1), labels, weight, self.all_sum).mean()


class OuterLoss(nn.Cell):
    """outer, from two batches of which the first half is support; order "second" or "first".

    Inputs:  sparse, dense, labels, weight: 2 B rows, batch after batch; keep: masks of 2 B rows.
    """

    def __init__(self, model, order):
        super().__init__(auto_prefix=False)
        self.loss = EmbeddingLoss(model)
        self.inner = ops.grad(self.loss, 0)
        self.first_order = order == "first"

    def construct(self, sparse, dense, labels, weight, keep):
        half = sparse.shape[0] // (2 * BATCHES_PER_UPDATE)
        start = self.loss.model.task_embedding + 0.0
        total = 0.0
        for batch in range(BATCHES_PER_UPDATE):
            first = 2 * half * batch
            support = self.rows(first, half, sparse, dense, labels, weight, keep)
            query = self.rows(first + half, half, sparse, dense, labels, weight, keep)
            slope = self.inner(start, *support)
            if self.first_order:
                slope = ops.stop_gradient(slope)
            total = total + self.loss(start - INNER_RATE * slope, *query)
        return total / BATCHES_PER_UPDATE

    def rows(self, first, count, sparse, dense, labels, weight, keep):
        """The inputs of `loss`, less Z, for rows first to first + count."""
        last = first + count
        masks = tuple([mask[first:last] for mask in keep])
        expert_keep, critic_keep = self.loss.model.experts.masks(masks)
        weight = weight[first:last]
        outputs, mean_token = self.loss.model.shared(
            sparse[first:last], dense[first:last], weight, expert_keep
        )
        return outputs, mean_token, labels[first:last], weight, critic_keep


class MetaStep:
    """The step of MetaHeac: step(batch, learning_rate, number) -> loss after every second batch,
    else None.  Bind ``steps_per_epoch`` with functools.partial.

    A batch without a partner at the end of an epoch, or with fewer than two real rows in a half, is
    dropped and counted; an odd batch leaves its last row out.
    Raises:  ValueError: fewer than two batches per epoch, so that nothing would ever be trained.
    """

    def __init__(self, model, optimizer, quotas, seed, steps_per_epoch):
        workers.refuse("the second-order step of metaheac")
        if steps_per_epoch < BATCHES_PER_UPDATE:
            raise ValueError(
                "metaheac updates once every 2 batches, but an epoch has one; use a smaller "
                "`batch_size` or `meta_order='none'`."
            )
        self.model, self.seed, self.steps = model, seed, steps_per_epoch
        loss = OuterLoss(model, model.config.meta_order)
        self.cell = CompiledStep(loss, optimizer).set_train()
        self.held, self.dropped = None, 0

    def __call__(self, batch, learning_rate, number):
        if number % self.steps == 0:
            self.held, self.dropped = None, 0
        half = len(batch) // 2
        halves = batch.weight[:half], batch.weight[half : 2 * half]
        if min((w > 0).sum() for w in halves) < MIN_ROWS:
            self.dropped += 1
            return None
        batch = batch.take(np.arange(2 * half))
        if self.held is None:
            self.held = batch
            self.dropped += number % self.steps == self.steps - 1
            return None
        pair, self.held = (self.held, batch), None
        columns = (np.concatenate([getattr(b, name) for b in pair]) for name in COLUMNS)
        keep = draw_masks(self.model.dropouts, 2 * len(batch), self.seed, number)
        return self.cell(Tensor(learning_rate, ms.float32), *map(Tensor, columns), keep)

    def counters(self):
        return {"dropped_batches": int(self.dropped)}

    def state(self):
        """What a resumed run needs besides the model and the optimiser."""
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        """The batch that waits for its partner, and the count."""
        held = {} if self.held is None else {name: getattr(self.held, name) for name in COLUMNS}
        return held | {"dropped": np.array(int(self.dropped))}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Go on from what `arrays` gave."""
        columns = dict(arrays)
        self.dropped = int(columns.pop("dropped"))
        self.held = SimpleNamespace(**columns) if columns else None


meta_step = MetaStep
