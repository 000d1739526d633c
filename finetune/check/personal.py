"""Personal data in what is asked and answered: addresses and numbers of people.

Names are not looked for: that takes a model, and half of what it finds are products.
"""

import re
from collections.abc import Iterator

from finetune.check.finding import Finding, Spot, Subject
from ingest.extras import require

EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
CARD = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")


def check_personal(subject: Subject) -> list[Finding]:
    """List the rows with an e-mail address, a phone number, an IBAN or a payment card's number."""
    found = []
    for row in subject.rows:
        kinds = dict.fromkeys(_kinds(f"{row.example.dialogue}\n{row.example.target}"))
        if kinds:
            found.append(Spot(row, ", ".join(kinds)))
    if not found:
        return [Finding("personal data", "note", "No addresses or numbers of people were found.")]
    return [
        Finding(
            "personal data",
            "warning",
            f"{len(found)} rows hold what may be personal data. A model can repeat what it learnt, "
            "and nothing can be deleted from an adapter.",
            tuple(found),
            advice="Replace them where the rows come from, if they are of people.",
        )
    ]


def _kinds(text: str) -> Iterator[str]:
    if EMAIL.search(text):
        yield "e-mail address"
    if any(_is_iban(match.group()) for match in IBAN.finditer(text)):
        yield "IBAN"
    if any(_is_card(match.group()) for match in CARD.finditer(text)):
        yield "payment card"
    if "+" in text and sum(c.isdigit() for c in text) >= 7:
        phonenumbers = require("phonenumbers", extra="finetune")
        # Without a country only numbers with their country's code can be told from part numbers.
        if phonenumbers.PhoneNumberMatcher(text, None).has_next():
            yield "phone number"


def _is_iban(text: str) -> bool:
    """Whether the check digits are right (ISO 13616: the rearranged number is 1 modulo 97)."""
    plain = text.replace(" ", "")
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def _is_card(text: str) -> bool:
    """Whether the check digit is right (ISO/IEC 7812, Luhn)."""
    digits = [int(c) for c in text if c.isdigit()][::-1]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0
