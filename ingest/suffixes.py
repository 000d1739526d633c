"""File names: what a folder is searched for. What a file is, its bytes say (`ingest/kind.py`)."""

CODE = (
    *(".bash", ".c", ".cc", ".cfg", ".clj", ".cmake", ".cpp", ".cs", ".css", ".cxx", ".dart"),
    *(".el", ".ex", ".exs", ".f90", ".go", ".gradle", ".groovy", ".h", ".hh", ".hpp", ".hs"),
    *(".ini", ".java", ".jl", ".js", ".jsx", ".kt", ".lua", ".m", ".mjs", ".ml", ".php", ".pl"),
    *(".proto", ".ps1", ".py", ".r", ".rb", ".rs", ".scala", ".sh", ".sql", ".swift", ".tex"),
    *(".tf", ".toml", ".ts", ".tsx", ".vb", ".xml", ".yaml", ".yml", ".zig"),
)
"""Source code and configuration: kept to the letter."""

MARKDOWN = (".md", ".markdown")
HTML = (".html", ".htm", ".xhtml")
TEXT = (".txt", ".text", ".log")
DELIMITED = (".csv", ".tsv", ".tab")
JSON_LINES = (".jsonl", ".ndjson")
OFFICE = (".pdf", ".docx", ".docm", ".pptx", ".pptm", ".xlsx", ".xlsm", ".epub", ".eml", ".msg")
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz")

SUFFIXES = (
    *(*MARKDOWN, *HTML, *TEXT, *DELIMITED, *JSON_LINES, *OFFICE, *ARCHIVES, *CODE),
    *(".rst", ".json"),
)
"""What a folder is searched for."""
