"""`python -m tinv_ext …`"""

import sys

from tinv_ext.cli.main import main

sys.exit(main())
