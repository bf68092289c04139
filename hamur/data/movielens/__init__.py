"""MovieLens-1M, its official three files or the public joined CSV.

    load   multi-domain tables by age group      pair   a pair of domains by genre

The download of the archive is `hamur.data.text.download`.
"""
