"""Processed CSV files of the Scenario-Wise-Rec benchmark: KuaiRand, Douban, MIND, Amazon-3.

    descriptions  what the columns of each are       load  one reader for all of them

Data sets with raw formats and generators of their own have their own folders.
"""

from hamur.data.scenarios.load import load_scenarios

__all__ = ["load_scenarios"]
