"""A question becomes evidence, a prompt and a cited answer; HTTP service and command line."""

__version__ = "0.1.0"
