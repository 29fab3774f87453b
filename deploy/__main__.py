"""`python -m deploy` is `almenara`."""

import sys

from deploy.cli import main

sys.exit(main())
