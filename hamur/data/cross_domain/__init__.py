"""Two domains with common users: a source that helps in a target, for BIAO and CoNet.

    dataset   CrossDomainData, Interactions and UserHistories: what each user did, by time
    match     common users and the split       join   rows of two domains -> CrossDomainData
    tables    any two csv, tsv or Parquet tables -> CrossDomainData; the checks of such rows
    implicit  the sequence files of ABXI; unobserved items as negative rows
    storage   CrossDomainData in a prepared cache

Readers of one data set are in its own folder.
"""

from hamur.data.cross_domain.dataset import CrossDomainData, Interactions, UserHistories
from hamur.data.cross_domain.join import JoinRules, join_pair
from hamur.data.cross_domain.tables import TableFormat, load_pair

__all__ = [
    "CrossDomainData",
    "Interactions",
    "JoinRules",
    "TableFormat",
    "UserHistories",
    "join_pair",
    "load_pair",
]
