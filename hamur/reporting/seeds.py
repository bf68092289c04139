"""`python -m hamur.reporting.seeds RUN_FOLDER ...` compares runs over seeds; see `compare`."""

import sys

from hamur.reporting.compare import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
