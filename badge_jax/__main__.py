import sys

from badge_jax.cli import main

sys.exit(main())
