"""Files become documents, documents become chunks, chunks become an index."""
