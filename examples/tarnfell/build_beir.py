"""Write the sample company as a labelled collection in the BEIR layout.

The questions that name documents become queries, and those documents are what should be found::

    python examples/tarnfell/build_beir.py /tmp/tarnfell
    groundtune eval retrieval /tmp/tarnfell

With ``--tickets`` the queries are those of the tickets: to choose settings by, so that the
questions stay for the verdict. ``--house`` takes another folder of the same make, such as
examples/orlwick.
"""

import argparse
import json
from pathlib import Path

from ingest.read import read_document

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description="Write the sample company in the BEIR layout.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tickets", action="store_true", help="the tickets' questions instead")
    parser.add_argument("--house", type=Path, default=HERE, help="another house's folder")
    args = parser.parse_args()
    (args.folder / "qrels").mkdir(parents=True, exist_ok=True)
    documents = args.house / "documents"
    corpus = []
    for path in sorted(documents.rglob("*.*")):
        source = path.relative_to(documents).as_posix()
        read = read_document(
            path.read_bytes(), source=source, collection="default", path=path, document_id="x"
        )
        corpus.append({"_id": source, "title": read.title, "text": read.text})
    asked = args.house / ("tickets.jsonl" if args.tickets else "questions.jsonl")
    rows = [json.loads(line) for line in asked.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row.get("documents")]
    queries = [{"_id": row["id"], "text": row["question"]} for row in rows]
    for name, lines in (("corpus.jsonl", corpus), ("queries.jsonl", queries)):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (args.folder / name).write_text(text, encoding="utf-8")
    judged = [f"{row['id']}\t{source}\t1\n" for row in rows for source in row["documents"]]
    header = "query-id\tcorpus-id\tscore\n"
    (args.folder / "qrels" / "test.tsv").write_text(header + "".join(judged), encoding="utf-8")
    print(f"{len(corpus)} documents, {len(queries)} queries, {len(judged)} judgements")


if __name__ == "__main__":
    main()
