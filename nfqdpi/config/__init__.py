"""The configuration: what may be set (``model``) and how files become it (``load``)."""

from nfqdpi.config.load import ConfigError, load, of_table
from nfqdpi.config.model import Config

__all__ = ["Config", "ConfigError", "load", "of_table"]
