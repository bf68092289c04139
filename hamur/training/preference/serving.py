"""Scores for requests that each bring a preference.

Everything that a preference decides goes through its features (`PreferenceFeatures`): they are
computed once a preference and kept, and a request of any preference runs the same graph.
"""

from collections import OrderedDict

import numpy as np
from mindspore import Tensor

from hamur.layers.preference import check_preference
from hamur.models.pomoe import NOT_SERVED, ParetoMixture
from hamur.models.prediction import graph_mode
from hamur.models.task_prediction import served_scores

DECIMALS = 4  # preferences that agree so far share an entry
SEVERAL = 64  # rows, and preferences, of a call whose rows have preferences of their own


class PreferenceCache:
    """Logits for requests that bring a preference, with the features of the last ones kept.

    cache(sparse (B, F) int32, dense (B, C) float32, preference (T,) or (B, T)) -> logits (B, T)
    float32.  A preference is rounded to 1e-4 and checked on the simplex; `capacity` of them are
    kept, the least recently used goes first.

    With one preference a row, the rows of a preference that at least SEVERAL rows share are scored
    together; of the others SEVERAL rows meet all their preferences at once, and each keeps its own
    logits: the experts, which cost most, see a row once.  One graph serves each of both ways, for
    any number of rows, compiled at its first call.  The model must not be trained while served.
    Raises:  ValueError: a model without preference features (preset "official"), a preference that
        is not on the simplex, another number of preferences than rows.
    """

    def __init__(self, model, capacity=256):
        if not isinstance(model, ParetoMixture):
            raise ValueError(NOT_SERVED)
        self.model, self.capacity = model, capacity
        self.one, self.several = (served_scores(model, n).cell for n in (1, SEVERAL))
        self.kept = OrderedDict()

    def __call__(self, sparse, dense, preference):
        keys = self.keys_of(preference)
        with graph_mode():
            if np.ndim(preference) == 1:
                features = Tensor(self.kept_features(keys))
                return self.one(Tensor(sparse), Tensor(dense), features).asnumpy()[:, 0]
            if len(keys) != len(sparse):
                raise ValueError(
                    f"{len(sparse)} rows have {len(keys)} preferences; give one for all, or one a "
                    "row."
                )
            return self.each(sparse, dense, keys)

    def each(self, sparse, dense, keys):
        """(B, T) at one rounded preference a row (B, T)."""
        distinct, group, rows = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
        features = self.kept_features(distinct)
        logits = np.empty(keys.shape, np.float32)
        for number in np.flatnonzero(rows >= SEVERAL):
            own, alike = np.flatnonzero(group == number), Tensor(features[number : number + 1])
            logits[own] = self.one(Tensor(sparse[own]), Tensor(dense[own]), alike).asnumpy()[:, 0]
        few = np.flatnonzero(rows[group] < SEVERAL)
        for begin in range(0, len(few), SEVERAL):
            own = few[begin : begin + SEVERAL]
            theirs = Tensor(features[np.resize(group[own], SEVERAL)])
            all_pairs = self.several(Tensor(sparse[own]), Tensor(dense[own]), theirs).asnumpy()
            logits[own] = all_pairs[np.arange(len(own)), np.arange(len(own))]
        return logits

    def keys_of(self, preferences):
        """Checked preferences (T,) or (R, T) as they are kept: (R, T) float64, rounded."""
        checked = check_preference(preferences, self.model.num_tasks)
        return np.atleast_2d(checked).astype(np.float64).round(DECIMALS)

    def features_of(self, preferences):
        """Features (R, V) of preferences (R, T), from the cache where they are there."""
        return self.kept_features(self.keys_of(preferences))

    def kept_features(self, rounded):
        """The same of what `keys_of` gave."""
        keys = list(map(tuple, rounded.tolist()))
        new = list(dict.fromkeys(key for key in keys if key not in self.kept))
        for begin in range(0, len(new), SEVERAL):
            part = new[begin : begin + SEVERAL]
            filled = np.resize(part, (SEVERAL, len(part[0])))  # one shape, compiled once
            filled = (filled / filled.sum(axis=1, keepdims=True)).astype(np.float32)
            self.kept |= zip(part, self.model.features(Tensor(filled)).asnumpy())
        found = np.stack([self.kept[key] for key in keys])
        for key in keys:
            self.kept.move_to_end(key)
        while len(self.kept) > self.capacity:
            self.kept.popitem(last=False)
        return found
