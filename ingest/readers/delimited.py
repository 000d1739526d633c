"""CSV and TSV: one readable line a row, each cell under its column's name."""

import csv
import io

from ingest.document import Reading
from ingest.readers.job import Job
from ingest.readers.outline import Outline, table_lines
from ingest.readers.text import text_of

DELIMITERS = ",;\t|"
SAMPLE = 20_000  # characters


def read_delimited(content: bytes, name: str, job: Job) -> Reading:
    """Read a table whose first row names the columns; the delimiter is told from the rows."""
    text = text_of(content)
    csv.field_size_limit(max(len(text), 131_072))
    outline = Outline(name)
    outline.lines(table_lines(csv.reader(io.StringIO(text, newline=""), _dialect(text))))
    return outline.reading()


def _dialect(text: str) -> type[csv.Dialect]:
    sample = text[:SAMPLE].rpartition("\n")[0] or text[:SAMPLE]
    try:
        return csv.Sniffer().sniff(sample, DELIMITERS)
    except csv.Error:
        first = sample.partition("\n")[0]

        class Likeliest(csv.excel):
            delimiter = max(DELIMITERS, key=first.count)

        return Likeliest
