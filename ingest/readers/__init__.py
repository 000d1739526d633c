"""One module for each file format: bytes in, blocks of text with headings and pages out."""
