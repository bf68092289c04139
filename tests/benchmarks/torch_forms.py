"""PyTorch restatements of a training step of the six models, in three forms, for timing only.

public    as the authors' code computes: every row through all D towers (DCN and W&D: D passes of
          the one network, for MLP and DCN the hyper-network too), the (H, M) weights of every row
          built by einsum in every cell, statistics over the batch, one embedding table a field,
          sigmoid then cross entropy of the probability, Adam with its default settings
factored  the same passes over all rows, but no per-row weight and one run of the hyper-network
routed    factored; a tower sees the rows of its own domain only, a shared backbone runs once, cells
          see slices of the sorted batch

The last two are PyTorch at its best: logits, one joined table, its rows by index_select, the fused
Adam kernel, cheap dropout masks, outer products without bmm, the scale of the instance applied to
vectors. (All parameters in one flat vector for Adam were faster on 64 rows only.) All are built
from the arrays of one of our models, so that sizes agree by construction. All rows have weight 1
and are sorted by domain.
"""

import numpy as np
import torch
from torch.nn import functional
from torch_plan import Plan

FORMS = ("public", "factored", "routed")


class RowProduct(torch.autograd.Function):
    """x (B, K) times instance (B, K, K), row by row; its outer products are not made by bmm."""

    @staticmethod
    def forward(ctx, x, instance):
        ctx.save_for_backward(x, instance)
        return torch.bmm(x.unsqueeze(1), instance).squeeze(1)

    @staticmethod
    def backward(ctx, g):
        x, instance = ctx.saved_tensors
        return torch.bmm(instance, g.unsqueeze(2)).squeeze(2), x.unsqueeze(2) * g.unsqueeze(1)


class TorchStep:
    """One form of one model with its optimiser; calling it takes a step and returns the loss.

    Inside, a layer sees a list of tensors, one a tower, beside the list of the towers' numbers.
    """

    def __init__(self, plan: Plan, form: str, learning_rate: float, weight_decay: float):
        self.plan, self.form = plan, form
        self.training = True  # else norms use running statistics and nothing is dropped
        self.p: dict[str, list[torch.Tensor]] = {}
        for name, array in plan.arrays.items():
            if name == "embedding.table":
                cuts = np.cumsum(plan.vocab_sizes)[:-1]
                array = np.split(array, cuts) if form == "public" else [array]
            swap = name.endswith(".weight") and name != "cross.weight"  # (out, in), as torch has it
            trainable = not name.endswith((".mean", ".variance"))
            parts = (np.ascontiguousarray(part.T if swap else part) for part in array)
            self.p[name] = [torch.tensor(part).requires_grad_(trainable) for part in parts]
        self.offsets = torch.tensor(np.concatenate([[0], np.cumsum(plan.vocab_sizes)[:-1]]))
        leaves = [leaf for group in self.p.values() for leaf in group if leaf.requires_grad]
        options = {} if form == "public" else {"fused": True}
        self.adam = torch.optim.Adam(leaves, lr=learning_rate, weight_decay=weight_decay, **options)

    def __call__(self, sparse, dense, domain, labels) -> float:
        loss = self.loss(*(torch.from_numpy(part) for part in (sparse, dense, domain, labels)))
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        return loss.item()

    def logits(self, sparse, dense, domain):
        embedded = self.embed(sparse.long())
        if self.form == "routed":
            return self.routed(embedded, dense)
        return self.every_row_everywhere(embedded, dense, domain)

    def loss(self, sparse, dense, domain, labels):
        logits = self.logits(sparse, dense, domain)
        if self.form == "public":
            return functional.binary_cross_entropy(torch.sigmoid(logits), labels)
        return functional.binary_cross_entropy_with_logits(logits, labels)

    def embed(self, sparse):
        tables = self.p["embedding.table"]
        if len(tables) == 1:
            ids = (sparse + self.offsets).flatten()
            embedded = tables[0].index_select(0, ids).view(len(sparse), -1)
        else:
            columns = zip(sparse.unbind(1), tables, strict=True)
            embedded = torch.cat([functional.embedding(ids, table) for ids, table in columns], 1)
        return self.drop(embedded, self.plan.embedding_dropout)

    def drop(self, x, rate):
        """Dropout; but for the public form with masks of 16 random bits a number, as drawing them
        by `functional.dropout` takes several times as long."""
        if not rate or not self.training:
            return x
        if self.form == "public":
            return functional.dropout(x, rate)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        levels = draws.view(torch.int16)[: x.numel()].view_as(x)
        return x * ((levels >= round(rate * 2**16) - 2**15) * (1 / (1 - rate)))

    def every_row_everywhere(self, embedded, dense, domain):
        """D passes of all rows; a row keeps the logit of its own domain's pass."""
        e = self.join(embedded, dense)
        logits, instance = torch.zeros(len(domain)), None
        for d in range(len(self.plan.quotas)):
            if instance is None or (self.form == "public" and self.plan.backbone != "wd"):
                instance = self.instance(e, dense)
            branch = self.towers([e], [dense], instance, [d], [d])
            logits = torch.where(domain == d, branch, logits)
        return logits

    def routed(self, embedded, dense):
        e = self.join(embedded, dense)
        instance, domains = self.instance(e, dense), range(len(self.plan.quotas))
        if len(self.p["output.weight"]) == 1:
            return self.towers([e], [dense], instance, [0], domains)
        parts = (torch.split(x, self.plan.quotas) for x in (e, dense))
        return self.towers(*parts, instance, domains, domains)

    def join(self, embedded, dense):
        """What the towers read."""
        return embedded if self.plan.backbone == "wd" else torch.cat([embedded, dense], 1)

    def towers(self, es, dense, instance, towers, domains):
        """Logits of the rows in the order of the towers; the cells work as the given domains."""
        backbone = self.plan.backbone
        hs, layer = es, 0
        while f"tower.blocks.{layer}.dense.weight" in self.p:
            hs = self.block(f"tower.blocks.{layer}", towers, hs)
            hs = [self.drop(h, self.plan.dropout) for h in hs]
            layer += 1
            if instance is not None and layer in self.plan.places:
                number = self.plan.places.index(layer)
                hs = self.cells(f"adapter.adapter_cells.{number}", hs, instance, domains)
        logits = []
        for tower, e, h, columns in zip(towers, es, hs, dense, strict=True):
            if backbone == "dcn":
                h = torch.cat([self.cross(tower, e), h], dim=1)
            logit = self.linear("output", tower, h)
            if backbone == "wd":
                logit = logit + self.linear("wide", tower, columns)
            logits.append(logit)
        return torch.cat(logits).squeeze(1)

    def pick(self, name, index):
        """A tower's or domain's own leaf, or the shared one."""
        leaves = self.p[name]
        return leaves[index if len(leaves) > 1 else 0]

    def linear(self, name, index, x):
        weight, bias = (self.pick(f"{name}.{part}", index) for part in ("weight", "bias"))
        return functional.linear(x, weight, bias)

    def norm(self, name, indices, xs):
        """Batch norm of each tensor, or over all of them where the model pools statistics."""
        pooled = len(xs) > 1 and len(self.p[f"{name}.mean"]) == 1
        if pooled:
            mean, variance = (self.p[f"{name}.{part}"][0] for part in ("mean", "variance"))
            joined = functional.batch_norm(torch.cat(xs), mean, variance, training=self.training)
            scaled = zip(torch.split(joined, [len(x) for x in xs]), indices, strict=True)
            return [
                torch.addcmul(self.pick(f"{name}.beta", i), x, self.pick(f"{name}.gamma", i))
                for x, i in scaled
            ]
        parts = ("mean", "variance", "gamma", "beta")
        return [
            functional.batch_norm(
                x, *(self.pick(f"{name}.{part}", i) for part in parts), self.training
            )
            for x, i in zip(xs, indices, strict=True)
        ]

    def block(self, name, indices, xs):
        xs = [self.linear(f"{name}.dense", i, x) for i, x in zip(indices, xs, strict=True)]
        return [functional.relu(x) for x in self.norm(f"{name}.norm", indices, xs)]

    def instance(self, e, dense):
        """(B, K, K), yet without its scale, which is 1 in the public code; None without an
        adapter."""
        if "adapter.hyper.weight" not in self.p:
            return None
        xs, layer = [torch.cat([dense, e], 1) if self.plan.backbone == "wd" else e], 0
        while f"adapter.hyper.tower.blocks.{layer}.dense.weight" in self.p:
            xs = self.block(f"adapter.hyper.tower.blocks.{layer}", [0], xs)
            layer += 1
        g = self.linear("adapter.hyper", 0, xs[0])
        if self.plan.instance_head == "bn_relu":
            g = functional.relu(self.norm("adapter.hyper.norm", [0], [g])[0])
        rank = round(g.shape[1] ** 0.5)
        return g.view(-1, rank, rank)

    def cross(self, index, x0):
        x, weights = x0, self.pick("cross.weight", index)
        for w, b in zip(weights, self.pick("cross.bias", index), strict=True):
            x = x0 * (x @ w).unsqueeze(1) + b + x
        return x

    def cells(self, name, hs, instance, domains):
        """h + norm(...) in the lists of tensors that came in."""
        if len(hs) == len(domains):
            return self.adapt(name, hs, instance, domains)
        if len(self.p[f"{name}.w_ul"]) == len(self.p[f"{name}.norm.gamma"]) == 1:
            return self.adapt(name, hs, instance, [0])
        return [torch.cat(self.adapt(name, hs[0].split(self.plan.quotas), instance, domains))]

    def adapt(self, name, hs, instance, domains):
        product = self.per_row_weights if self.form == "public" else self.factored
        os = product(name, hs, instance, domains)
        if f"{name}.b_v" in self.p:
            os = [o + self.pick(f"{name}.b_v", d) for o, d in zip(os, domains, strict=True)]
        changes = self.cell_norm(f"{name}.norm", os, domains)
        return [h + change for h, change in zip(hs, changes, strict=True)]

    def sides(self, name, d):
        return [self.pick(f"{name}.{part}", d) for part in ("w_ul", "w_ur", "w_vl", "w_vr", "b_u")]

    def per_row_weights(self, name, hs, instance, domains):
        """(B, H, M) and (B, M, H) weights of all rows, as in the public code; one tower a call."""
        w_ul, w_ur, w_vl, w_vr, b_u = self.sides(name, domains[0])
        down = torch.einsum("hi,bij,jm->bhm", w_ul, instance, w_ur)
        z = torch.sigmoid(torch.einsum("bh,bhm->bm", hs[0], down) + b_u)
        up = torch.einsum("mi,bij,jh->bmh", w_vl, instance, w_vr)
        return [torch.einsum("bm,bmh->bh", z, up)]

    def factored(self, name, hs, instance, domains):
        sides = [self.sides(name, d) for d in domains]
        qs = self.times_instance([h @ s[0] for h, s in zip(hs, sides, strict=True)], instance)
        zs = [torch.sigmoid(torch.addmm(s[4], q, s[1])) for q, s in zip(qs, sides, strict=True)]
        rs = self.times_instance([z @ s[2] for z, s in zip(zs, sides, strict=True)], instance)
        return [r @ s[3] for r, s in zip(rs, sides, strict=True)]

    def times_instance(self, xs, instance):
        """Per-row products; the small vectors are joined so that the instance is never cut."""
        x = torch.cat(xs)
        if self.plan.instance_scale != 1.0:
            x = x * self.plan.instance_scale
        return RowProduct.apply(x, instance).split([len(x) for x in xs])

    def cell_norm(self, name, xs, domains):
        if self.plan.norm_variance == "biased" and self.form != "public":
            return self.norm(name, domains, xs)
        return [
            self.pick(f"{name}.gamma", d) * (x - x.mean(0)) / torch.sqrt(x.var(0) + 1e-5)
            + self.pick(f"{name}.beta", d)
            for x, d in zip(xs, domains, strict=True)
        ]
