"""What Ali-CCP consists of: its columns, its domains, where it comes from."""

from pathlib import Path

NAME = "ali-ccp"
SAMPLE = Path(__file__).resolve().parents[3] / "data" / "ali-ccp-sample"
PAGE = "https://tianchi.aliyun.com/dataset/408"
HEADER = (
    "click,purchase,"
    "101,121,122,124,125,126,127,128,129,205,206,207,210,216,508,509,702,853,301,"
    "109_14,110_14,127_14,150_14,"
    "D109_14,D110_14,D127_14,D150_14,D508,D509,D702,D853"
)
CSV_COLUMNS = tuple(HEADER.split(","))
LABELS, SPARSE_COLUMNS, DENSE_COLUMNS = CSV_COLUMNS[:2], CSV_COLUMNS[2:25], CSV_COLUMNS[25:]
DOMAIN_COLUMN, GROUP_COLUMN = "301", "101"
DOMAIN_MAP = {1: 0, 2: 1, 3: 2}
NUM_DOMAINS = 3
MULTI_COLUMNS = ("210", "853", "109_14", "110_14", "127_14", "150_14")
