"""storyd: from a recipe to a dataset of synthetic stories, unattended."""

__version__ = "0.1.0"
