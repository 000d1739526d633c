"""One module for each command that this folder owns."""
