"""Bi-level training (BIAO): the lower level trains CoNet, the upper one the weights of its source
behaviours.

    estimators   hypergradients of any bi-level problem      check    second derivatives are right
    problem, graphs, reads   CoNet as such a problem, compiled
    session, steps   the lower level's loop      upper, head     an upper update
    rows, batch  what both levels read       parts, state    built from a configuration; on disk
    evaluate, weights        predictions and metrics; what the upper level learned
    journal      lines of the log
    config, presets, *_flags the options

Layers of the networks are in `hamur.layers` and `hamur.models.conet`.
"""
