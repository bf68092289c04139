"""MovieLens-1M: the official three files or the public joined CSV.

    load   multi-domain tables by age group      pair   a pair of domains by genre
    files  how the files are written, and which ones a folder holds; genres  as an id or a list

The download of the archive lives in `hamur.data.text.download`.
"""

from hamur.data.movielens.load import load_movielens
from hamur.data.movielens.pair import load_movielens_pair

__all__ = ["load_movielens", "load_movielens_pair"]
