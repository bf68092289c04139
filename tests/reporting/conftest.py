"""A report of three domains, one of them of one class."""

import numpy as np
import pytest

from hamur import metrics


@pytest.fixture
def report():
    labels = np.array([0, 1, 0, 1, 1, 1])
    return metrics.by_group(labels, np.linspace(0.2, 0.8, 6), np.array([0, 0, 1, 1, 2, 2]), 3)
