"""Sentences and headings of manuals -> what somebody would type who needs them.

Rules of grammar, no model: a sentence of a known form becomes a question, and any sentence becomes
a paraphrase: some words replaced by WordNet's synonyms, function words and some others dropped.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from recipes.minilm.data.wordnet import Words

_FUNCTION_WORDS = (
    "a an the this that these those is are was were be been being to of in on at by for with "
    "from as and or but if then than so such it its they them their there here which who whom "
    "whose what will would shall should can could may might must do does did has have had not "
    "no also very just only even both either each any some all more most other into onto over "
    "under about you your we our i my me he she his her when where how why"
)
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Words that a query can do without."""

_MOST_WORDS = 16
_REPLACED, _DROPPED, _FUNCTION_DROPPED = 0.4, 0.15, 0.6

_HELPING = frozenset(["be", "do", "have", "need", "want", "see", "note", "get", "go"])
"""Verbs that make no question: what you need to do is no way to need it."""

_PERSONS = {"you": "I", "your": "my", "yours": "mine", "yourself": "myself", "we": "I", "our": "my"}
_MODAL = r"is|are|was|were|can|cannot|must|should|will|may"
_SUBJECT = r"(?P<subject>(?:the |a |an |this |these |your |its )?[\w' -]{2,50}?)"
_PURPOSE = re.compile(r"^(?:In order t|T)o (?P<act>(?P<verb>[a-z]+) [^,;:]{4,80}), ")
_LETS = re.compile(
    r"\b(?:allows?|lets?|enables?|permits?) (?:you|users?|one|us)(?: to)? "
    r"(?P<act>(?P<verb>[a-z]+) [^,;:.]{4,80})"
)
_YOU_CAN = re.compile(
    r"\b[Yy]ou (?:can|may|could) (?:also |then |now )?(?P<act>(?P<verb>[a-z]+) [^,;:.]{4,80})"
)
_USED_TO = re.compile(r"\b(?:is|are|be) used to (?P<act>(?P<verb>[a-z]+) [^,;:.]{4,80})")
_WHEN = re.compile(r"^(?:If|When|Whenever|Once) (?P<clause>[^,;:]{8,90}), ")
_BECAUSE = re.compile(
    rf"^{_SUBJECT} (?P<modal>{_MODAL}) (?P<rest>[^,;:]{{6,70}}),? (?:because|since) "
)
_DEFINED = re.compile(
    r"^(?P<subject>(?:An? |The )?[\w' -]{3,40}?) (?P<modal>is|are) (?:an?|the|any|one of) "
)
_PLACED = re.compile(
    rf"^{_SUBJECT} (?P<modal>is|are|can be|must be) (?P<rest>set|stored|defined|located|kept|"
    r"found|saved|specified|configured|installed|described|recorded|written) "
    r"(?:in|at|by|under|on|using|with|to) "
)
_NEEDED = re.compile(
    r"\b[Yy]ou (?:must|need to|have to|should) (?P<act>(?P<verb>[a-z]+) [^,;:.]{4,80})"
)


def sentences(text: str) -> list[str]:
    """The sentences of a text, in their order; what does not end like one is left out."""
    parts = re.split(r"(?<=[.!?]) (?=[A-Z])", text)
    return [part for part in parts if part.endswith((".", "!", "?"))]


def as_questions(sentence: str, words: Words) -> list[str]:
    """Every question that a rule makes of a sentence which answers it; often none."""
    return list(dict.fromkeys(_tidy(one) for one in _questions(" ".join(sentence.split()), words)))


def _questions(sentence: str, words: Words) -> Iterator[str]:
    forms: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
        (_PURPOSE, ("how do I {}", "how can I {}", "what is the way to {}")),
        (_LETS, ("how can I {}", "is it possible to {}", "what lets me {}")),
        (_YOU_CAN, ("can I {}", "how do I {}", "is there a way to {}")),
        (_USED_TO, ("what is used to {}", "how do I {}")),
        (_NEEDED, ("do I have to {}", "when do I need to {}")),
    )
    for pattern, templates in forms:
        found = pattern.search(sentence)
        if found and words.is_verb(found["verb"]) and found["verb"] not in _HELPING:
            yield from (template.format(_mine(found["act"])) for template in templates)
    if found := _WHEN.search(sentence):
        clause = _mine(found["clause"])
        yield from (f"what happens when {clause}", f"what if {clause}")
    if found := _BECAUSE.search(sentence):
        yield f"why {found['modal']} {_lower(found['subject'])} {_mine(found['rest'])}"
    if (found := _DEFINED.search(sentence)) and _names_something(found["subject"]):
        subject = _lower(found["subject"])
        yield from (f"what {found['modal']} {subject}", f"what does {subject} mean")
    if (found := _PLACED.search(sentence)) and _names_something(found["subject"]):
        modal, _, verb = found["modal"].partition(" ")
        yield " ".join(f"where {modal} {_lower(found['subject'])} {verb} {found['rest']}".split())


def heading_question(heading: str, words: Words) -> str | None:
    """``"Installing a printer"`` -> ``"how do I install a printer"``; None for other headings."""
    first, _, rest = " ".join(heading.split()).partition(" ")
    if not rest or heading.endswith("?"):
        return None
    base = words.base_form(first.lower())
    if base is None and words.is_verb(first.lower()) and rest.split()[0].lower() in (
        "a", "an", "the", "your", "to", "with", "from", "and", "or",
    ):  # fmt: skip
        base = first.lower()
    return None if base is None else _tidy(f"how do I {base} {_mine(_lower(rest))}")


def paraphrase(sentence: str, words: Words, rng: random.Random) -> str:
    """The sentence in other words: synonyms, without function words, at most 16 words of it."""
    found = re.findall(r"[\w'+./-]*\w", sentence)
    kept: list[str] = []
    for word in found:
        low = word.lower()
        if low in FUNCTION_WORDS:
            kept += [] if rng.random() < _FUNCTION_DROPPED else [word]
        elif rng.random() >= _DROPPED:
            kept.append(_replaced(word, words, rng))
    if len(kept) > _MOST_WORDS:
        start = rng.randrange(len(kept) - _MOST_WORDS + 1)
        kept = kept[start : start + _MOST_WORDS]
    return " ".join(kept)


def reworded(question: str, words: Words, rng: random.Random) -> str:
    """A question with some of its words replaced by synonyms."""
    return re.sub(r"[A-Za-z]+", lambda found: _replaced(found[0], words, rng), question)


def _replaced(word: str, words: Words, rng: random.Random) -> str:
    low = word.lower()
    others = () if low in FUNCTION_WORDS or len(low) < 4 else words.synonyms(low)
    return rng.choice(others) if others and rng.random() < _REPLACED else word


def _mine(text: str) -> str:
    return re.sub(r"[A-Za-z]+", lambda found: _PERSONS.get(found[0].lower(), found[0]), text)


def _lower(text: str) -> str:
    """Without a capital at the start, unless the word is a name in capitals."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def _names_something(subject: str) -> bool:
    first = subject.lower().split()[0]
    return first not in FUNCTION_WORDS or (first in ("a", "an", "the") and " " in subject)


def _tidy(question: str) -> str:
    question = re.sub(r"\bI are\b", "I am", question)
    return f"{question.strip(' .?!')}?"
