"""Harm on purpose: some users get the source behaviours of others, which a learned weight should
find."""

import dataclasses

import numpy as np

from hamur.data.cross_domain.dataset import USER, CrossDomainData
from hamur.data.schema import thaw


def exchange_users(
    pair: CrossDomainData, exchange_source: float, seed: int
) -> tuple[CrossDomainData, np.ndarray]:
    """The pair in which this share of the users have the source behaviours of another such user,
    and (U,) bool, the users by id who do.

    Users and times of the source rows stay, so that pools and the lengths of histories do; row k of
    a user's n rows takes item, category and label of row floor(k m / n) of the other's m.  Every
    chosen user gives once and receives once, nobody from himself.
    Raises:  ValueError: fewer than two users are chosen.
    """
    source = pair.source
    user = np.asarray(source.sparse[:, USER])
    first = np.searchsorted(user, np.arange(pair.num_users + 2))
    count = np.diff(first)
    known = np.flatnonzero(count)
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    chosen = rng.permutation(known)[: round(exchange_source * len(known))]
    if len(chosen) < 2:
        raise ValueError(
            f"`exchange_source={exchange_source}` of {len(known)} users with source behaviours "
            f"is {len(chosen)}; two are needed. Use a larger one."
        )
    donor = np.arange(len(count))
    donor[chosen] = np.roll(chosen, 1)
    place = np.arange(len(user)) - first[user]
    taken = first[donor[user]] + place * count[donor[user]] // count[user]
    sparse, labels = np.array(source.sparse), np.asarray(source.labels)[taken]
    sparse[:, USER + 1 :] = np.asarray(source.sparse)[taken, USER + 1 :]
    details = {"exchanged": {"users": len(chosen), "of": len(known), "seed": seed}}
    schema = dataclasses.replace(pair.source_schema, split=thaw(pair.source_schema.split) | details)
    source = dataclasses.replace(source, sparse=sparse, labels=labels)
    harmed = np.zeros(len(count), bool)
    harmed[chosen] = True
    return dataclasses.replace(pair, source=source, source_schema=schema), harmed
