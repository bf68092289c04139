"""AliExpress, raw (pairs of user and item files, packed or not) or processed (82 columns).

load       the loader                    processed  the CSVs: read, joined, divided by page
files      columns, processed files      sources    raw files at every stage of unpacking
raw        the description of the raw files
"""

from hamur.data.aliexpress.load import load_aliexpress

__all__ = ["load_aliexpress"]
