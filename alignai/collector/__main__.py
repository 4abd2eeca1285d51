"""`python -m alignai.collector`."""

import sys

from alignai.collector import main

sys.exit(main())
