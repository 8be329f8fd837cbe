from badge_jax.cli import entry

if __name__ == "__main__":  # a worker of a sweep imports this module too
    entry()
