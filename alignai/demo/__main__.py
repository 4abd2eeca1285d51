"""`python -m alignai.demo`."""

import sys

from alignai.demo.demo import main

sys.exit(main())
