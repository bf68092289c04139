"""`python -m hamur` is the console command `hamur`."""

import sys

from hamur.commands.console import main

sys.exit(main())
