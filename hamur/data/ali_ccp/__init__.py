"""Ali-CCP, raw (four files, of any size) or processed (three CSVs of 33 columns).

    load       the loader            processed  the CSVs: found, read, divided
    columns    what the columns are  raw        the stages that turn raw files into a cache:
    judge, lists  lines of the raw files; parts, keys, rows, encode, product  the stages' jobs

What other data sets share (text files, jobs, caches) does not live here.
"""

from hamur.data.ali_ccp.load import load_ali_ccp

__all__ = ["load_ali_ccp"]
