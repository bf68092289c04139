"""Multi-domain models of others, one per file, and the controls that any of them must beat.

All read the same embedded instance e, and their inference never depends on the other rows of the
batch; what their public versions do otherwise is a table of hamur/models/README.md.
"""
