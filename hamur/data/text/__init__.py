"""Text files as columns, and what to do with bad rows; nothing here knows the columns' meaning.

blocks         whole lines of plain and packed files, in bounded memory
lines, reader  delimited lines -> typed columns, fast when all is well; cells: what each kind holds
records, rows  rows of several lines; what the reader gives
checks         allowed values, unique keys, partners
bad_rows       the first bad row stops, or bad rows are counted and listed
download       MovieLens-1M's official archive, checked
"""
