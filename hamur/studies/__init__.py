"""Studies: many trainings compared in one table, each a command of its own in examples/.

A study goes on where it was interrupted; a single training is a command of `hamur.commands`.
"""
