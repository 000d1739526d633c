"""`make bench`: one file a subject."""
