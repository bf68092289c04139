"""The commands behind the scripts in examples/: from flags to files and a table.

One to three modules per command; `script` is what they share.  The mathematics is in `data`,
`models` and `training`; `hamur.studies` compares many runs.
"""
