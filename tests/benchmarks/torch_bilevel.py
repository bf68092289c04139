"""The public training loop of BIAO on CoNet, restated in PyTorch, with its own order of work.

Rows are built one by one by a data set, as its loader does; the weights are part of the
differentiated graph; the head fit back-propagates the whole network for nine numbers; the upper
level differentiates through a Neumann series.
"""

import random
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

LENGTH, HEADS, WIDTHS = 50, 4, (64, 32, 16, 8)


class PublicRows(Dataset):
    """Target rows with a drawn source behaviour and both padded histories, row by row.

    rows: list of (user, item, category, label); pools, source_history, target_history: lists by
    user, of (item, category, label) and of (item, category).
    """

    def __init__(self, rows, pools, source_history, target_history):
        self.rows, self.pools = rows, pools
        self.histories = (source_history, target_history)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        user, item, category, label = self.rows[index]
        pool = self.pools[user]
        source = random.choice(pool) if pool else (1, 1, 0)
        row = [user, item, category, *source[:2]]
        padded, lengths = [], []
        for history in self.histories:
            known = history[user][-LENGTH:]
            lengths.append(len(known))
            padded.append(known + [(0, 0)] * (LENGTH - len(known)))
        return (
            torch.tensor(row),
            torch.tensor([source[2], label], dtype=torch.float32),
            torch.tensor(float(bool(pool))),
            torch.tensor(padded),
            torch.tensor(lengths),
        )


def loader(rows, size, shuffle):
    return DataLoader(rows, batch_size=size, shuffle=shuffle, drop_last=True)


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x):
        batch, length, width = x.shape
        k, v = self.key_value(x).chunk(2, -1)
        q, k, v = (
            each.reshape(batch, length, HEADS, -1).transpose(1, 2) for each in (self.query(x), k, v)
        )
        weights = (q @ k.transpose(-1, -2) * (width // HEADS) ** -0.5).softmax(-1)
        return self.output((weights @ v).transpose(1, 2).reshape(batch, length, width))


class Perceptron(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.source, self.target = Attention(4 * dim), Attention(4 * dim)
        self.gate = nn.Sequential(
            nn.Linear(8 * dim, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1)
        )
        self.item = nn.Linear(2 * dim, 1)
        self.prior = nn.Parameter(torch.ones(1, 1))

    def forward(self, network, ids, histories, lengths):
        candidate = torch.cat([network.tables[3](ids[:, 3]), network.tables[4](ids[:, 4])], 1)
        fixed, pooled = candidate.detach(), []
        for side, attention in enumerate((self.source, self.target)):
            first = (3, 1)[side]
            seen = histories[:, side]
            x = torch.cat([network.tables[first + n](seen[..., n]).detach() for n in (0, 1)], -1)
            x = torch.cat([x, fixed[:, None].expand(-1, LENGTH, -1)], -1)
            mask = torch.arange(LENGTH)[None] < lengths[:, side, None]
            pooled.append((attention(x) * mask[..., None]).mean(1))
        g = self.item(candidate) * self.gate(torch.cat(pooled, 1))
        return (self.prior.relu() * g.softmax(0)).squeeze(-1)


class Network(nn.Module):
    def __init__(self, sizes, dim=10):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, dim) for size in sizes)
        widths = (3 * dim, *WIDTHS)
        kinds = [nn.ModuleList() for _ in range(3)]
        for inputs, outputs in pairwise(widths):
            for kind in kinds:
                kind.append(nn.Linear(inputs, outputs, bias=False))
        self.source_layers, self.target_layers, self.shared = kinds
        self.heads = nn.ModuleList(nn.Linear(widths[-1], 1) for _ in range(3))

    def forward(self, ids):
        e = [table(ids[:, n]) for n, table in enumerate(self.tables)]
        x_s, x_t = torch.cat([e[0], e[3], e[4]], 1), torch.cat([e[0], e[1], e[2]], 1)
        for own_s, own_t, shared in zip(self.source_layers, self.target_layers, self.shared):
            x_s, x_t = F.relu(own_s(x_s) + shared(x_t)), F.relu(own_t(x_t) + shared(x_s))
        inputs = (x_s, x_t, x_t)
        return [head(x).sigmoid().squeeze(-1) for head, x in zip(self.heads, inputs)]


class PublicLoop:
    """lower() is one training step, upper() one update of the perceptron."""

    def __init__(self, sizes, rows, batch=64, meta=256, fits=100):
        self.network, self.perceptron = Network(sizes), Perceptron(10)
        self.lower_rows = self.forever(loader(rows, batch, True))
        self.dev_rows = self.forever(loader(rows, meta, False))
        self.rows, self.batch, self.meta, self.fits = rows, batch, meta, fits
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-2)
        self.head = torch.optim.Adam(self.network.heads[2].parameters(), 1e-2)
        self.upper_optimizer = torch.optim.SGD(self.perceptron.parameters(), 1e-2, weight_decay=2.0)

    @staticmethod
    def forever(batches):
        while True:
            yield from batches

    def loss(self, batch):
        ids, labels, effect, histories, lengths = batch
        source, target, _ = self.network(ids)
        w = self.perceptron(self.network, ids, histories, lengths)
        of_source = F.binary_cross_entropy(source, labels[:, 0], reduction="none")
        return F.binary_cross_entropy(target, labels[:, 1]) + (w * effect * of_source).sum()

    def lower(self):
        loss = self.loss(next(self.lower_rows))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def upper(self):
        for number, batch in enumerate(loader(self.rows, self.meta, False)):
            if number == self.fits:
                break
            self.optimizer.zero_grad()
            F.binary_cross_entropy(self.network(batch[0])[2], batch[1][:, 1]).backward()
            self.head.step()
        theta = [p for name, p in self.network.named_parameters() if not name.startswith("heads")]
        dev = next(self.dev_rows)
        loss = F.binary_cross_entropy(self.network(dev[0])[2], dev[1][:, 1])
        # The development loss does not reach the source tower's last layer.
        v = torch.autograd.grad(loss, theta, allow_unused=True)
        v = [torch.zeros_like(a) if b is None else b for a, b in zip(theta, v)]
        lower = self.loss(next(iter(loader(self.rows, self.batch, True))))
        gradient = torch.autograd.grad(lower, theta, create_graph=True)
        p = v
        for _ in range(3):
            hv = torch.autograd.grad(gradient, theta, grad_outputs=v, retain_graph=True)
            v = [a - b for a, b in zip(v, hv)]
            p = [a + b for a, b in zip(p, v)]
        phi = list(self.perceptron.parameters())
        found = torch.autograd.grad(gradient, phi, grad_outputs=p)
        for parameter, g in zip(phi, found):
            parameter.grad = -g
        nn.utils.clip_grad_norm_(phi, 10.0)
        self.upper_optimizer.step()
