"""What the public POMoE code computes, restated in PyTorch for timing: the same layers, row-major
features, one preference a batch, Adam with L2."""

import torch
from torch import nn


def mlp(in_dim, dims, dropout):
    layers = []
    for out_dim in dims:
        layers += [
            nn.Linear(in_dim, out_dim),
            nn.BatchNorm1d(out_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
        ]
        in_dim = out_dim
    return nn.Sequential(*layers)


class PublicPomoe(nn.Module):
    """Logits (B, 2) for sparse (B, F), dense (B, C) and one preference (2,)."""

    def __init__(self, vocab_sizes, num_dense, embed_dim=128, experts=6):
        super().__init__()
        self.offsets = torch.tensor([sum(vocab_sizes[:f]) for f in range(len(vocab_sizes))])
        self.embedding = nn.Embedding(sum(vocab_sizes), embed_dim)
        self.numeric = nn.Linear(num_dense, embed_dim)
        width = (len(vocab_sizes) + 1) * embed_dim
        self.width, self.number = width, experts
        self.experts = nn.ModuleList(mlp(width, (512, 256), 0.2) for _ in range(experts))
        self.towers = nn.ModuleList(
            nn.Sequential(mlp(256, (128, 64), 0.2), nn.Linear(64, 1)) for _ in range(2)
        )
        self.trunk = nn.Sequential(
            nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64)
        )
        sizes = (experts * width, experts * experts, experts, experts)
        self.heads = nn.ModuleList(nn.Linear(64, size) for size in sizes)
        self.drop = nn.Dropout(0.05)

    def forward(self, sparse, dense, preference):
        tokens = self.embedding(sparse + self.offsets)
        tokens = torch.cat([tokens, self.numeric(dense)[:, None]], 1).flatten(1)
        v = self.trunk(preference)
        w1, w2, b1, b2 = (self.drop(head(v)) for head in self.heads)
        w1, w2 = w1.view(self.number, self.width), w2.view(self.number, self.number)
        gate = torch.relu((tokens @ w1.T + b1) @ w2.T + b2)
        outputs = torch.stack([expert(tokens) for expert in self.experts], 1)
        mixed = torch.bmm(gate[:, None], outputs).squeeze(1)
        return torch.cat([tower(mixed) for tower in self.towers], 1)


def public_step(vocab_sizes, arrays):
    """A step function of the public training loop over the arrays (sparse, dense, labels)."""
    torch.manual_seed(0)
    sparse, dense, labels = (torch.from_numpy(array) for array in arrays)
    sparse = sparse.long()
    model = PublicPomoe(vocab_sizes, dense.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4, weight_decay=1e-6)
    alpha = torch.distributions.Dirichlet(torch.tensor([1.0, 1.2]))
    bce = nn.functional.binary_cross_entropy

    def step():
        preference = alpha.sample()
        p = torch.sigmoid(model(sparse, dense, preference))
        losses = torch.stack([bce(p[:, k], labels[:, k]) for k in range(2)])
        cosine = torch.cosine_similarity(losses, 1 - preference, dim=0)
        loss = (preference * losses).sum() - 0.05 * cosine
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    facts = {"rows": len(sparse), "parameters": sum(p.numel() for p in model.parameters())}
    return step, facts
