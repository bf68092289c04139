"""The commands behind examples/prepare_data.py and make_synthetic.py: flags, and what is printed.

What they do lives in `preparing` and `synthetic`; the scripts that train have their flags in
`hamur.config`.
"""

from hamur.data.commands.make_synthetic import main_synthetic
from hamur.data.commands.prepare_data import main_prepare

__all__ = ["main_prepare", "main_synthetic"]
