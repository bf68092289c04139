"""Training of several tasks at once: the preference step with its samplers and scalarisations,
MetaHeac's second-order step, objective and serving.

One file per idea; the networks are in `hamur.models`, the measures of a front in `hamur.metrics`.
"""
