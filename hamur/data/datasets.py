"""The data sets that examples/prepare_data.py knows, by name."""

from hamur.data.ali_ccp.raw import DATASET as ALI_CCP
from hamur.data.aliexpress.raw import DATASET as ALIEXPRESS
from hamur.data.amazon.raw import DATASET as AMAZON
from hamur.data.movielens.load import DATASET as MOVIELENS

DATASETS = {each.name: each for each in (ALI_CCP, ALIEXPRESS, AMAZON, MOVIELENS)}
