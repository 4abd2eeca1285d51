"""`python -m alignai.spool`."""

import sys

from alignai.cli import main

sys.exit(main())
