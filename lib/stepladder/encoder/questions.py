"""What a message asks."""

from __future__ import annotations

import re

from stepladder.encoder.text import sentences

_WHO = r"(?:i|you|we|it|they|he|she|the|this|that|these|those|there|my|your|our|any|anyone|someone)\b"
_DO = r"(?:is|are|was|do|does|did|can|could|may|might|will|would|should|shall|have|has|am)"
_AFTER = r"\b(?:and|but|so|also|or|oh|then|now|thing|ps)\s+"
_QUESTION = re.compile(
    rf"\?|(?:^|[,:;(–—-]\s*|{_AFTER}){_DO}\s+{_WHO}"
    rf"|\b(?:wh(?:at|en|ere|ich|y|o)|how)\s+(?:[\w-]+\s+){{0,2}}{_DO}\s+{_WHO}"
    rf"|(?:^|[,:;(–—-]\s*|{_AFTER})(?:what|when|where|who|how)['’]?s\b|\b(?:do|can|will|could)\s+u\b"
    rf"|(?:^|[:;(]\s*|{_AFTER})(?:wh(?:ich|ose|y|ether|o)\b|how\s+(?:much|many|long|often|far|big|small|heavy)\b"
    r"|what(?:'s)?\s+(?:about|if|is|are|\w+\s+(?:is|are)))"
    r"|\b(?:wonder\w*|curious|tell\s+me|let\s+me\s+know|remind\s+me|(?:like|need|wants?)\s+to\s+know|(?:no|any)\s+idea|quote)\b"
    r"|\b(?:know|ask(?:s|ed)?|sure|idea)\s+(?:\w+\s+)?(?:if|whether|how|what|when|where|which|who)\b",
    re.IGNORECASE,
)
_AGENT_TURN = re.compile(r"^Agent: .*?(?=^Customer: |\Z)", re.MULTILINE | re.DOTALL)


def questions(message: str) -> list[str]:
    """The sentences of a message that ask something; in a conversation, those of the customer.

    >>> questions("Parcel came today. Really nice! Do you sell spare poles")
    ['Do you sell spare poles']
    """
    return [s for s in sentences(_AGENT_TURN.sub("", message)) if _QUESTION.search(s)]


def asked(message: str) -> str:
    """The questions of a message as one text; empty where it asks nothing."""
    return " ".join(questions(message))
