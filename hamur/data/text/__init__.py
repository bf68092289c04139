"""Text files as columns, and what to do with bad rows; nothing here knows the columns' meaning.

lines, reader  blocks of delimited lines -> typed columns, fast when all is well
checks         allowed values, unique keys, partners
bad_rows       the first bad row stops, or bad rows are counted and listed
download       MovieLens-1M's official archive, checked
"""
