"""Two domains with common users, a source that helps in a target: what BIAO and CoNet train on.

    pair        Pair and Interactions        join    rows of two domains -> a Pair
    behaviours  what each user did, by time  tables  any two csv, tsv or parquet tables -> a Pair
    checks      times and repeated rows      cache   a Pair in a prepared cache
    match       common users and the split   negatives  unobserved items as negative rows
    abxi        the sequence files of ABXI      export  a Pair as the files of the public BIAO code

Readers of one data set live in its own folder.
"""

from hamur.data.cross_domain.dataset import Interactions, Pair
from hamur.data.cross_domain.histories import Behaviours
from hamur.data.cross_domain.join import join_pair
from hamur.data.cross_domain.tables import load_pair

__all__ = ["Behaviours", "Interactions", "Pair", "join_pair", "load_pair"]
