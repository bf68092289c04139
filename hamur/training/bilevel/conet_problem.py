"""CoNet as a `hypergradient.BilevelProblem`, with the compiled functions of `graphs`.

A vector of the system holds, flat, the table rows that occur in the lower batch (6 B, E), then the
cross matrices; `hyper_scope` is a mask over it.  H moves no other row of the table, so this equals
the dense form.
"""

import numpy as np
from mindspore import Tensor

from hamur import kernels
from hamur.data.cross_domain.collate import Batch
from hamur.training.bilevel import graphs
from hamur.training.bilevel.graphs import tensor


class ProblemGraphs:
    """The compiled cells of one run; each has one input shape and is compiled at its first call.

    attached: the weights are part of the lower loss, as in the public code.
    """

    def __init__(self, model, perceptron, attached: bool):
        self.model, self.perceptron, self.attached = model, perceptron, attached
        loss = graphs.TowerLoss(model.config.slope)
        crosses = len(model.cross)
        system = (0, *positions(loss.first_cross, crosses))
        self.rows = graphs.TableRows(model)
        self.gradients = graphs.Gradients(loss, system)
        self.fused = graphs.FusedGradients(model) if kernels.enabled() else None
        self.influence = graphs.second_order(loss, system, (1,))
        pulled = graphs.PulledLogits(model.config.slope)
        self.pulled = graphs.Gradients(pulled, (*system, 1))
        self.jacobian_product = graphs.second_order(pulled, system, (1,))
        product = graphs.PhiProduct(perceptron)
        phi = positions(product.first_phi, graphs.NUM_PHI)
        self.phi_product = graphs.Gradients(product, phi, has_aux=True)
        if attached:
            loss = graphs.AttachedTowerLoss(
                model.config.slope, perceptron.importance, perceptron.prior_weight
            )
            system = (0, *positions(loss.first_cross, crosses))
            phi = positions(loss.first_cross + crosses, graphs.NUM_PHI)
            self.mixed = graphs.second_order(loss, system, phi)
        self.hvp = graphs.second_order(loss, system, system)


def positions(first: int, number: int) -> tuple[int, ...]:
    """So many arguments of a compiled function, from this one on."""
    return tuple(range(first, first + number))


class CoNetProblem:
    """One upper update's problem: a `hypergradient.BilevelProblem`.

    dev, lower: batches; weights (2, B): of the lower batch's losses at the present phi, None where
    no second derivative reads them; after the phi gradient `source_weights` (B,) is their first
    row.
    head: tensors (weight (2, H, 1), bias (2, 1, 1)) of the development loss, which does not read
    the source's.
    scope: "all", "embeddings" or "user"; normalise: rows of p get length 1, which makes the result
    a descent direction and no longer an unbiased hypergradient; first_order: the influence of scope
    "user" needs no second derivative, because a behaviour's loss reads its own user row only.
    """

    def __init__(
        self, cells, dev: Batch, lower: Batch, weights, head, scope, normalise, first_order
    ):  # fmt: skip
        self.cells, self.dev, self.lower, self.weights, self.head = cells, dev, lower, weights, head
        self.normalise, self.first_order = normalise, first_order
        model = cells.model
        self.prior_weight = cells.perceptron.prior_weight
        self.dim, self.cross = model.config.embed_dim, list(model.cross)
        self.own_head = (model.head_weight, model.head_bias)
        self.cross_sizes = [int(np.prod(weight.shape)) for weight in self.cross]
        self.dev_loss = None
        unique, local = np.unique(lower.ids, return_inverse=True)
        self.unique = unique
        self.places = lower.ids.size  # rows of the system: the static maximum
        padded = np.zeros(self.places, np.int32)
        padded[: len(unique)] = unique
        self.rows = cells.rows(Tensor(padded))
        self.local = tensor(local.reshape(lower.ids.shape).astype(np.int32))
        self.mask = self.scope_mask(scope, model)
        self.curvature = None  # (2, B), by the first `gauss_newton`

    def scope_mask(self, scope, model) -> np.ndarray:
        """1 where the vector belongs to the scope; rows 0 never move and never count."""
        first_item = model.sizes.user
        rows = np.zeros((self.places, 1))
        inside = self.unique < first_item if scope == "user" else np.full(len(self.unique), True)
        rows[: len(self.unique), 0] = inside
        cross = np.full(sum(self.cross_sizes), float(scope == "all"))
        return np.concatenate([np.repeat(rows, self.dim, axis=1).ravel(), cross])

    def id_mask(self, batch: Batch) -> np.ndarray:
        """Which rows of the tables count: all, unless row 0 is fixed at zero."""
        zero = self.cells.model.config.zero_padding
        return batch.id_mask if zero else np.ones_like(batch.id_mask)

    def occurrence_gradients(self, batch: Batch, weights, head):
        """(loss, gradient (2, B, 3, E) of each row's own copy of its embeddings, cross gradients):
        first order."""
        if self.cells.fused is not None:
            columns = map(tensor, (batch.ids, batch.id_mask, batch.labels, weights))
            value, _, rows, _, _, *cross = self.cells.fused(*columns, *head)
            return float(value.asnumpy()), rows.asnumpy(), [part.asnumpy() for part in cross]
        ids = batch.ids.reshape(-1)
        local = np.arange(ids.size, dtype=np.int32).reshape(batch.ids.shape)
        value, (rows, *cross) = self.cells.gradients(
            self.cells.rows(Tensor(ids)), tensor(weights), Tensor(local),
            tensor(self.id_mask(batch)), tensor(batch.labels), *head, *self.cross,
        )  # fmt: skip
        rows = rows.asnumpy().reshape(*batch.ids.shape, self.dim)
        return float(value.asnumpy()), rows, [part.asnumpy() for part in cross]

    def dev_gradient(self) -> np.ndarray:
        """v = dL_dev/dtheta (N,) float64 inside the scope, on the rows of the lower batch; sets
        dev_loss."""
        weights = np.stack([np.zeros_like(self.dev.row_weight), self.dev.row_weight])
        self.dev_loss, rows, cross = self.occurrence_gradients(self.dev, weights, self.head)
        place = np.searchsorted(self.unique, self.dev.ids.ravel())
        place = np.minimum(place, len(self.unique) - 1)
        occurs = self.unique[place] == self.dev.ids.ravel()
        at = place[occurs, None] * self.dim + np.arange(self.dim)
        rows = rows.reshape(-1, self.dim)[occurs]
        summed = np.bincount(at.ravel(), rows.ravel(), self.places * self.dim)
        return self.mask * flat(summed, cross)

    def arguments(self):
        """Arguments of the lower batch's TowerLoss."""
        return (
            self.rows, tensor(self.weights), self.local, tensor(self.id_mask(self.lower)),
            tensor(self.lower.labels), *self.own_head,
        )  # fmt: skip

    def attached_arguments(self):
        """The same and the inputs of the weights, for weights inside the graph of theta."""
        lower, perceptron = self.lower, self.cells.perceptron
        history, history_mask = lower.histories.padded(lower.spans)
        embedded = self.cells.rows(Tensor(history.reshape(-1)))
        embedded = embedded.reshape(*history.shape[:3], 2 * self.dim)
        return (
            *self.arguments(), tensor(lower.source_category), embedded, tensor(history_mask),
            tensor(lower.has_source), *self.cross, *perceptron.phi,
        )  # fmt: skip

    def vectors(self, x: np.ndarray) -> list[Tensor]:
        """A vector (N,) as table rows and cross matrices."""
        rows, *cross = np.split(x, np.cumsum([self.places * self.dim, *self.cross_sizes[:-1]]))
        shapes = [weight.shape for weight in self.cross]
        return [
            tensor(rows.reshape(self.places, self.dim)),
            *(tensor(part.reshape(shape)) for part, shape in zip(cross, shapes)),
        ]

    def hvp(self, x: np.ndarray) -> np.ndarray:
        """H x inside the scope."""
        if self.cells.attached:
            arguments = self.attached_arguments()
        else:
            arguments = (*self.arguments(), *self.cross)
        _, (rows, *cross) = self.cells.hvp(*self.vectors(self.mask * x), *arguments)
        return self.mask * flat(rows.asnumpy(), [part.asnumpy() for part in cross])

    def gauss_newton(self, x: np.ndarray) -> np.ndarray:
        """J' B J x inside the scope, B the second derivatives of the weighted losses by their
        logits: H without the curvature of the network, hence nowhere negative.  The weights are
        constants in it, also where they are part of the graph."""
        if self.curvature is None:
            *_, logits = self.pull(np.zeros(self.lower.labels.shape))
            rate = 1.0 / (1.0 + np.exp(-logits.asnumpy().astype(np.float64)))
            self.curvature = self.weights * rate * (1.0 - rate)
        _, along = self.cells.jacobian_product(
            *self.vectors(self.mask * x), *self.arguments(), *self.cross
        )
        rows, *cross, _ = self.pull(self.curvature * first(along).asnumpy())
        return self.mask * flat(rows.asnumpy(), [part.asnumpy() for part in cross])

    def pull(self, by: np.ndarray):
        """(J' by of the rows, of the cross matrices, logits (2, B)), by (2, B)."""
        rows, _, *arguments = self.arguments()
        return self.cells.pulled(rows, tensor(by), *arguments, *self.cross)[1]

    def precondition(self, p: np.ndarray) -> np.ndarray:
        """p (N,), with rows of length 1 where they are normalised."""
        if not self.normalise:
            return p
        rows = p[: self.places * self.dim].reshape(self.places, self.dim)
        rows = rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-12)
        return np.concatenate([rows.ravel(), p[self.places * self.dim :]])

    def influence(self, p: np.ndarray) -> np.ndarray:
        """c (B,) float64, c_j = p . d(source loss of behaviour j)/dtheta: how much more weight on
        behaviour j would lower the development loss."""
        if self.first_order:
            weights = np.stack([self.lower.row_mask, np.zeros_like(self.lower.row_mask)])
            _, rows, _ = self.occurrence_gradients(self.lower, weights, self.own_head)
            at = np.searchsorted(self.unique, self.lower.ids[0, :, 0])
            of_user = p[: self.places * self.dim].reshape(self.places, self.dim)[at]
            c = (rows[:, :, 0].sum(0) * of_user).sum(-1)
        else:
            _, by_weight = self.cells.influence(*self.vectors(p), *self.arguments(), *self.cross)
            c = first(by_weight).asnumpy()[0].astype(np.float64)
        return self.prior_weight * self.lower.has_source * self.lower.row_mask * c

    def phi_gradient(self, influence: np.ndarray, p: np.ndarray) -> dict[str, np.ndarray]:
        """-d<w(phi), c>/dphi by name, c constant; sets source_weights."""
        lower, phi = self.lower, self.cells.perceptron.phi
        if self.cells.attached:
            self.source_weights = self.weights[0]
            _, gradients = self.cells.mixed(*self.vectors(p), *self.attached_arguments())
        else:
            (_, w), gradients = self.cells.phi_product(
                tensor(influence), *phi, *self.cells.perceptron.columns(lower)
            )
            self.source_weights = self.prior_weight * w.asnumpy() * lower.has_source
        return {each.name: -g.asnumpy() for each, g in zip(phi, gradients)}


class FirstOrder:
    """A problem without products with the Hessian."""

    hvp = gauss_newton = None

    def __init__(self, problem: CoNetProblem):
        self.dev_gradient, self.precondition = problem.dev_gradient, problem.precondition
        self.influence, self.phi_gradient = problem.influence, problem.phi_gradient


def flat(rows: np.ndarray, cross: list[np.ndarray]) -> np.ndarray:
    """Table rows and cross matrices as one float64 vector."""
    return np.concatenate([part.ravel() for part in (rows, *cross)]).astype(np.float64)


def first(value):
    """The first of a tuple, or the value itself."""
    return value[0] if isinstance(value, tuple) else value
