"""AliExpress, raw (pairs of user and item files, packed or not) or processed (82 columns).

load   the loader, with the description of the processed files
files  columns, options, and which files a folder holds
raw    the description of the raw files
"""

from hamur.data.aliexpress.load import load_aliexpress

__all__ = ["load_aliexpress"]
