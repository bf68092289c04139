"""Ali-CCP, raw (four files, of any size) or processed (three CSVs of 33 columns).

load     the loader, with the description of the processed files
columns  columns and options      lines  lines of the raw files
raw      the description of the raw files
"""

from hamur.data.ali_ccp.load import load_ali_ccp

__all__ = ["load_ali_ccp"]
