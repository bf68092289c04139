"""Fused kernels for the training step on CPU, in C++; without them the same mathematics runs in
MindSpore's own kernels.

A layer asks ``enabled()`` when it is built.  ``HAMUR_KERNELS=plain`` in the environment switches
the kernels off.
"""

from hamur.kernels.build import enabled, library

__all__ = ["enabled", "library"]
