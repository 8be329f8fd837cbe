__version__ = "0.3.0.dev0"
"""The version of the package."""
