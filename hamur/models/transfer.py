"""The weights of a trained model for one of a schema that continues its own: more ids, further
domains, see `hamur.data.load_table(earlier=...)`."""

from collections.abc import Mapping

import numpy as np

TABLE = "embedding.table"


def continued(
    weights: Mapping[str, np.ndarray], earlier, model, like: str | None = None, fresh: bool = False
) -> dict[str, np.ndarray]:
    """{parameter: array} for the model, of which every old id and domain has the old values.

    weights: of a model of the same sizes and the schema `earlier`.  What is of a new domain, its
    towers, cells, statistics and its row of the domain's field, starts as the mean over the old
    domains, or as those of `like`; a new id as the mean of its field's known ids, or, if `fresh`,
    as the model has it.
    Raises:  ValueError: another model, or one whose shared layers grow with the domains (`mmoe`,
        `m3oe`); no such domain.
    """
    grown = _Grown(earlier, model.schema, like)
    return _grown(weights, grown, model.get_parameters(), fresh)


def continued_state(
    state: Mapping[str, np.ndarray], earlier, model, like: str | None = None
) -> dict[str, np.ndarray]:
    """{name: array}: the state of an optimiser for one of the model, grown as `continued` grows the
    parameters: what is new begins with the moments of what its value is from.

    state: of the earlier model's; a moment has the name of its kind, a dot, and its parameter's;
        what has no dot, the powers of the betas, stays.
    Raises:  ValueError: as `continued`.
    """
    grown = _Grown(earlier, model.schema, like)
    found = {name: array for name, array in state.items() if "." not in name}
    for kind in {name.partition(".")[0] for name in state.keys() - found.keys()}:
        moments = {
            name.partition(".")[2]: state[name] for name in state if name.startswith(f"{kind}.")
        }
        known = [each for each in model.get_parameters() if each.name in moments]
        more = _grown(moments, grown, known, False)
        found |= {f"{kind}.{name}": array for name, array in more.items()}
    return found


def new_parts(weights: Mapping[str, np.ndarray], earlier, model) -> dict[str, np.ndarray]:
    """{parameter: bool array of its shape} which numbers are of a new domain alone; of the
    parameters that have such.  Arguments and errors as of `continued`."""
    zeros = {name: np.zeros(array.shape, np.float32) for name, array in weights.items()}
    grown = _Grown(earlier, model.schema, None)
    grown.start = 1.0
    parts = _grown(zeros, grown, model.get_parameters(), False)
    return {name: part > 0 for name, part in parts.items() if part.any()}


def _grown(weights, grown: "_Grown", parameters, fresh: bool) -> dict[str, np.ndarray]:
    found = {}
    for parameter in parameters:
        name, shape = parameter.name, tuple(parameter.shape)
        if name not in weights:
            raise ValueError(f"the earlier run is of another model: it lacks {name!r}.")
        old = weights[name]
        if name == TABLE and old.shape[1:] == shape[1:]:
            found[name] = grown.table(old, parameter.asnumpy(), fresh)
        elif old.shape == shape:
            found[name] = old
        elif old.shape[1:] == shape[1:] and (len(old), shape[0]) == grown.domains:
            found[name] = grown.stack(old)
        else:
            raise ValueError(
                f"{name!r} has shape {old.shape} in the earlier run and {shape} here: another "
                "model or preset, or one whose shared layers grow with the domains."
            )
        if found[name].shape != shape:
            raise ValueError(f"the earlier run is of another model: {name!r} is {old.shape}.")
    return found


class _Grown:
    """What of a schema the continuing one has more."""

    def __init__(self, earlier, schema, like):
        known = earlier.domain_names
        if schema.domain_names[: len(known)] != known:
            raise ValueError("the domains do not begin with those of the earlier run.")
        if like is not None and like not in known:
            raise ValueError(f"`like={like}`: known are {', '.join(known)}.")
        self.domains = len(known), schema.num_domains
        self.like = None if like is None else known.index(like)
        self.start = None  # of all that is of a new domain
        fields = [(spec.name, spec.vocab_size) for spec in schema.fields if spec.vocab_size]
        sizes = {spec.name: spec.vocab_size for spec in earlier.fields}
        self.sizes = [(sizes.get(name, 0), size) for name, size in fields]
        names = [name for name, _ in fields]
        self.domain_field = names.index(schema.domain_field) if schema.domain_field else None

    def stack(self, old: np.ndarray) -> np.ndarray:
        """(D, ...) -> (D', ...)"""
        more = self.domains[1] - len(old)
        start = old.mean(axis=0) if self.like is None else old[self.like]
        if self.start is not None:
            start = np.full_like(start, self.start)
        return np.concatenate((old, np.repeat(start[None].astype(old.dtype), more, axis=0)))

    def table(self, old: np.ndarray, own: np.ndarray, fresh: bool) -> np.ndarray:
        """The joined embedding table; each field has its rows once, or once per domain.

        own: (rows, E), that of the model; fresh: new ids are as there.
        """
        before, after = (sum(sizes) for sizes in zip(*self.sizes))
        copies = (1, 1) if len(own) == after else self.domains
        if (len(old), len(own)) != (before * copies[0], after * copies[1]):
            return old  # of another model
        parts, begin, start = [], 0, 0
        for number, (had, has) in enumerate(self.sizes):
            end, stop = begin + had * copies[0], start + has * copies[1]
            field = old[begin:end].reshape(copies[0], had, -1)
            if number == self.domain_field:
                field = np.stack([self.stack(rows) for rows in field])
            elif has > had:
                known = field[:, min(1, had - 1) :]  # without 'unknown'
                new = known.mean(axis=1, keepdims=True, dtype=np.float64).astype(old.dtype)
                field = np.concatenate((field, np.repeat(new, has - had, axis=1)), axis=1)
            if copies[1] > 1:
                field = self.stack(field)
            if fresh and number != self.domain_field:
                field[:, had:] = own[start:stop].reshape(copies[1], has, -1)[:, had:]
            parts.append(field.reshape(-1, old.shape[1]))
            begin, start = end, stop
        return np.concatenate(parts)
