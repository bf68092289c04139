"""Bi-level training (BIAO): the lower level trains CoNet, the upper one the weights of its source
behaviours.

    options   variants and options, as values      step   the step of the Trainer: both levels
    upper     an upper update, and what it keeps   dev_head   the head of the development loss
    hypergradient   estimators for any bi-level problem
    conet_problem, graphs   CoNet as such a problem, compiled
    second_order_check      second derivatives are right in this build
    report    what the upper level learned
"""
