"""The language models that answers are generated with."""
