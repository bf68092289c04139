"""The commands behind the scripts in examples/: from flags to files and a table.

One or two modules per command; `script` is what they share.  The mathematics is in `data`, `models`
and `training`; `hamur.studies` compares many runs.
"""
