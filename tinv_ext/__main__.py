"""`python -m tinv_ext …`"""

import sys

from tinv_ext.cli import main

sys.exit(main())
