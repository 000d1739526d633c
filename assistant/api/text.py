"""Text that comes with a request: what no database and no model takes is refused at the door."""

import json
from typing import Any


def check_text(value: Any) -> None:
    """Raise ValueError where JSON holds half a character or the character NUL, at any depth.

    JSON can write one half of a surrogate pair, which no text in UTF-8 can hold; PostgreSQL stores
    no NUL.
    """
    try:
        written = json.dumps(value, ensure_ascii=False)
        written.encode()
    except UnicodeEncodeError:
        raise ValueError("there is half a character in it: a surrogate without its pair") from None
    except (RecursionError, TypeError, ValueError):
        raise ValueError("it is nested too deep") from None
    if "\\u0000" in written.replace(r"\\", ""):  # an escaped backslash is another matter
        raise ValueError("there is a NUL character in it")
