from badge_jax.cli import entry

entry()
