"""How the stores of an index are written, in the configuration and on the command line."""

VECTORS = r"(chroma|qdrant)(:https?://[^\s/@]+/?)?"
"""A folder inside the workspace, or a server."""
STATE = r"sqlite|postgresql://\S+"
"""A file inside the workspace, or a database."""
