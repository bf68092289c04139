"""What stands behind the scripts in examples/: flags in, files and a table out.

One file a command, `script` what they share.  No mathematics: that lives in `data`, `models` and
`training`; long comparisons of many runs are in `studies`.
"""
