"""Scores for requests that each bring a preference.

A preference acts through its features (`PreferenceFeatures`) alone: they are computed once per
preference and cached, and requests of all preferences run the same graph.
"""

from collections import OrderedDict

import numpy as np
from mindspore import Tensor

from hamur.metrics.fronts import check_preference
from hamur.models.pomoe import NOT_SERVED, ParetoMixture
from hamur.models.prediction import graph_mode
from hamur.models.task_prediction import served_scores

DECIMALS = 4  # preferences that agree so far share an entry
SEVERAL = 64  # rows, and preferences, of a call whose rows have different preferences


class PreferenceCache:
    """Logits for requests that bring a preference, with the features of the last ones cached.

    cache(sparse (B, F) int32, dense (B, C) float32, preference (T,) or (B, T)) -> logits (B, T)
    float32.  A preference is rounded to 1e-4 and checked on the simplex; the `capacity` last used
    ones are cached.

    With one preference per row, the rows of a preference that at least SEVERAL rows share are
    scored together; of the others SEVERAL rows meet all their preferences at once, and each keeps
    its own logits: the experts, which cost most, see a row once.  One graph serves each of both
    ways, for any number of rows, compiled at its first call.  Threads may share a cache.  An id
    outside its vocabulary reads as 0, 'unknown'; a row with a dense value that is not finite gets
    NaN.  The model must not be trained while served.
    Raises:  ValueError: a model without preference features (preset "official"), a preference that
        is not on the simplex, another number of preferences than rows.
    """

    def __init__(self, model, capacity=256):
        if not isinstance(model, ParetoMixture):
            raise ValueError(NOT_SERVED)
        self.model, self.capacity = model, capacity
        self.one, self.several = (served_scores(model, n) for n in (1, SEVERAL))
        self.cached = OrderedDict()  # features (V,) by rounded preference

    def __call__(self, sparse, dense, preference):
        alike = np.ndim(preference) < 2
        if not alike and len(preference) != len(sparse):
            raise ValueError(
                f"{len(sparse)} rows have {len(preference)} preferences; give one for all, or one "
                "per row."
            )
        keys = self.keys_of(preference) if alike or len(sparse) else ()
        if not len(sparse):
            return np.empty((0, self.model.num_tasks), np.float32)
        with graph_mode():
            if alike:
                return self.alike(sparse, dense, self.cached_features(keys))
            return self.by_row(sparse, dense, keys)

    def alike(self, sparse, dense, features):
        """(B, T) at the preference of features (1, V)."""
        return self.one(Tensor(sparse), Tensor(dense), Tensor(features)).asnumpy()[:, 0]

    def by_row(self, sparse, dense, keys):
        """(B, T) at a rounded preference per row (B, T)."""
        distinct, group, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
        features = self.cached_features(distinct)
        logits = np.empty(keys.shape, np.float32)
        for number in np.flatnonzero(counts >= SEVERAL):
            rows = np.flatnonzero(group == number)
            logits[rows] = self.alike(sparse[rows], dense[rows], features[number : number + 1])
        few = np.flatnonzero(counts[group] < SEVERAL)
        for begin in range(0, len(few), SEVERAL):
            rows = few[begin : begin + SEVERAL]
            inputs = sparse[rows], dense[rows], features[np.resize(group[rows], SEVERAL)]
            all_pairs = self.several(*map(Tensor, inputs)).asnumpy()
            logits[rows] = all_pairs[np.arange(len(rows)), np.arange(len(rows))]
        return logits

    def keys_of(self, preferences):
        """Checked preferences (T,) or (R, T) as they are cached: (R, T) float64, rounded."""
        checked = check_preference(preferences, self.model.num_tasks)
        return np.atleast_2d(checked).astype(np.float64).round(DECIMALS)

    def features_of(self, preferences):
        """Features (R, V) of preferences (R, T)."""
        keys = self.keys_of(preferences)
        with graph_mode():
            return self.cached_features(keys)

    def cached_features(self, keys):
        """Features (R, V) of rounded preferences (R, T), computed where they are not cached."""
        keys = list(map(tuple, keys.tolist()))
        new = list(dict.fromkeys(key for key in keys if key not in self.cached))
        for begin in range(0, len(new), SEVERAL):
            part = new[begin : begin + SEVERAL]
            filled = np.resize(part, (SEVERAL, len(part[0])))  # one shape, compiled once
            filled = (filled / filled.sum(axis=1, keepdims=True)).astype(np.float32)
            self.cached |= zip(part, self.model.features(Tensor(filled)).asnumpy())
        features = np.stack([self.cached[key] for key in keys])
        for key in keys:
            self.cached.move_to_end(key)
        while len(self.cached) > self.capacity:
            self.cached.popitem(last=False)
        return features
