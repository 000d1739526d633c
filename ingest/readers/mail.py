"""E-mail, EML and MSG: who wrote what to whom; attachments are read under their names."""

import email
import email.message
import email.policy
from collections.abc import Iterable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from ingest.document import Reading
from ingest.errors import DocumentError, OverLimitError
from ingest.readers.html import read_html
from ingest.readers.job import Job
from ingest.readers.office import iso_date
from ingest.readers.outline import Outline


class Attachment(NamedTuple):
    """A file sent along."""

    name: str
    content: bytes


class Message(NamedTuple):
    """An e-mail, whichever format it was in."""

    subject: str
    sender: str
    recipients: str
    sent: datetime | None
    plain: str
    html: bytes
    """Looked at where there is no plain text."""
    attachments: list[Attachment]


def read_eml(content: bytes, name: str, job: Job) -> Reading:
    """Read an e-mail as it is sent (RFC 5322), with its attachments."""
    mail = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(mail, email.message.EmailMessage)
    return _reading(_message(mail), name, job)


def read_msg(content: bytes, name: str, job: Job) -> Reading:
    """Read an e-mail as Outlook saves it."""
    from oxmsg import Message as Outlook

    mail = Outlook.load(content)
    recipients = ", ".join(f"{person.name} <{person.email_address}>" for person in mail.recipients)
    message = Message(
        subject=mail.subject,
        sender=mail.sender or "",
        recipients=recipients,
        sent=mail.sent_date,
        plain=mail.body or "",
        html=(mail.html_body or "").encode(),
        attachments=[
            Attachment(attachment.file_name or "attachment", attachment.file_bytes or b"")
            for attachment in mail.attachments
        ],
    )
    return _reading(message, name, job)


def _message(mail: email.message.EmailMessage) -> Message:
    plain, html, attachments = list[str](), b"", list[Attachment]()
    for part in _parts(mail):
        name = part.get_filename()
        kind = part.get_content_type()
        if kind == "message/rfc822":
            inner: Any = part.get_payload(0) if part.is_multipart() else part
            subject = str(inner["subject"] or "message")
            attachments.append(Attachment(f"{subject}.eml", inner.as_bytes()))
        elif name or part.get_content_disposition() == "attachment" or not kind.startswith("text/"):
            payload = part.get_payload(decode=True)
            suffix = kind.rpartition("/")[2]
            attachments.append(
                Attachment(
                    name or f"attachment.{suffix}", payload if isinstance(payload, bytes) else b""
                )
            )
        elif kind == "text/html":
            payload = part.get_payload(decode=True)
            html = html or (payload if isinstance(payload, bytes) else b"")
        else:
            plain.append(_text(part))
    return Message(
        subject=_header(mail, "subject"),
        sender=_header(mail, "from"),
        recipients=", ".join(filter(None, (_header(mail, "to"), _header(mail, "cc")))),
        sent=_date(_header(mail, "date")),
        plain="\n\n".join(text for text in plain if text.strip()),
        html=html,
        attachments=attachments,
    )


def _parts(mail: email.message.EmailMessage) -> Iterable[email.message.EmailMessage]:
    """Yield the parts that are no containers; a message inside counts as one part."""
    if mail.is_multipart() and mail.get_content_type() != "message/rfc822":
        for part in mail.iter_parts():
            yield from _parts(part)  # type: ignore[arg-type]
    else:
        yield mail


def _text(part: email.message.EmailMessage) -> str:
    from ingest.readers.text import decode

    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    try:
        return payload.decode(part.get_content_charset() or "utf-8")
    except (LookupError, UnicodeDecodeError):
        return decode(payload) or ""


def _header(mail: email.message.EmailMessage, name: str) -> str:
    return " ".join(str(mail[name] or "").split())


def _date(header: str) -> datetime | None:
    try:
        return parsedate_to_datetime(header) if header else None
    except ValueError:
        return None


def _reading(message: Message, name: str, job: Job) -> Reading:
    outline = Outline(name)
    outline.heading(1, message.subject)
    date = iso_date(message.sent)
    heads = {"From": message.sender, "To": message.recipients, "Date": date}
    outline.lines([f"{key}: {value}" for key, value in heads.items() if value])
    outline.metadata.update(author=message.sender, to=message.recipients, date=date)
    if message.plain.strip():
        outline.paragraph(message.plain)
    elif message.html.strip():
        for block in read_html(message.html, name, job).blocks:
            outline.paragraph(block.text)
    failures = []
    for attachment in message.attachments:
        job.unpack(packed=len(attachment.content), unpacked=len(attachment.content))
        try:
            outline.member(attachment.name, job.member(attachment.content, attachment.name))
        except OverLimitError:
            raise
        except DocumentError as error:
            failures.append(f"{attachment.name}: {error.message}")
    if failures:
        outline.metadata["skipped"] = "; ".join(failures)
    return outline.reading()
