"""Amazon 2014: two categories of reviews with their meta data, read line by line.

    reader  what a line holds      load  a pair of domains, or one multi-domain table, or a cache

What any pair of domains has in common is in `hamur.data.cross_domain`.
"""

from hamur.data.amazon.load import load_amazon, load_amazon_pair

__all__ = ["load_amazon", "load_amazon_pair"]
