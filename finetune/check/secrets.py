"""Secrets in rows: keys, tokens and passwords, by the patterns of detect-secrets.

Its detectors of high entropy and of words such as "password" are left out: in prose and part
numbers they cry wolf.
"""

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from finetune.check.finding import Finding, Spot, Subject
from ingest.extras import require

DETECTORS = {
    "artifactory": "ArtifactoryDetector",
    "aws": "AWSKeyDetector",
    "azure_storage_key": "AzureStorageKeyDetector",
    "basic_auth": "BasicAuthDetector",
    "discord": "DiscordBotTokenDetector",
    "github_token": "GitHubTokenDetector",
    "gitlab_token": "GitLabTokenDetector",
    "jwt": "JwtTokenDetector",
    "mailchimp": "MailchimpDetector",
    "npm": "NpmDetector",
    "openai": "OpenAIDetector",
    "private_key": "PrivateKeyDetector",
    "pypi_token": "PypiTokenDetector",
    "sendgrid": "SendGridDetector",
    "slack": "SlackDetector",
    "square_oauth": "SquareOAuthDetector",
    "stripe": "StripeDetector",
    "telegram_token": "TelegramBotTokenDetector",
    "twilio": "TwilioKeyDetector",
}


def check_secrets(subject: Subject) -> list[Finding]:
    """List the rows that hold a secret, anywhere in them; the secret itself is not repeated."""
    found = []
    for row in subject.rows:
        text = "\n".join(message.content for message in row.example.messages)
        kinds = list(dict.fromkeys(_kinds(text)))
        if kinds:
            found.append(Spot(row, ", ".join(kinds)))
    if not found:
        return [Finding("secrets", "note", "No keys, tokens or passwords were found.")]
    return [
        Finding(
            "secrets",
            "error",
            f"{len(found)} rows hold what looks like a key, a token or a password. Whoever can ask "
            "the model can have it.",
            tuple(found),
            advice="Take it out where the row comes from, and change the secret: it was in a log.",
        )
    ]


def _kinds(text: str) -> Iterator[str]:
    for detector in _detectors():
        if next(iter(detector.analyze_string(text)), None):
            yield detector.secret_type


@cache
def _detectors() -> list[Any]:
    require("detect_secrets", extra="finetune")
    return [
        getattr(import_module(f"detect_secrets.plugins.{module}"), name)()
        for module, name in DETECTORS.items()
    ]
