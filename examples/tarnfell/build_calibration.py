"""Write ``calibration.jsonl``: the tickets' questions, with what `groundtune calibrate` needs.

A ticket that was refused is a question that the documents do not answer. Run it from anywhere::

    python examples/tarnfell/build_calibration.py
"""

import json
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Write the file anew."""
    rows = []
    for line in (HERE / "tickets.jsonl").read_text(encoding="utf-8").splitlines():
        ticket = json.loads(line)
        rows.append(
            {
                "id": ticket["id"],
                "question": ticket["question"],
                "documents": ticket["documents"],
                "answerable": "refusal" not in ticket["tags"],
                "facts": ticket["facts"],
                "tags": ticket["tags"],
            }
        )
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (HERE / "calibration.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")
    print(f"{len(rows)} questions, {sum(not row['answerable'] for row in rows)} unanswerable")


if __name__ == "__main__":
    main()
