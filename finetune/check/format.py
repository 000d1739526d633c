"""Whether answers are as declared."""

from finetune.check.finding import Finding, Spot, Subject


def check_format(subject: Subject) -> list[Finding]:
    """List the rows whose answer is not as the schema and the patterns declare."""
    if not subject.answers.declared:
        return [
            Finding(
                "format",
                "note",
                "No format is declared, so none was checked.",
                advice="Set answer.schema_file, or give --schema or --pattern.",
            )
        ]
    wrong = [
        Spot(row, reason)
        for row in subject.rows
        if (reason := subject.answers.reason(row.example.target))
    ]
    if not wrong:
        return [Finding("format", "note", f"All {len(subject.rows)} answers are as declared.")]
    return [
        Finding(
            "format",
            "error",
            f"{len(wrong)} of {len(subject.rows)} answers are not as declared.",
            tuple(wrong),
            advice="Mend them where they come from: a model learns the exception with the rule.",
        )
    ]
