"""Manual pages in man(7) source -> plain text, without groff.

Enough of roff for text that a model learns from: fonts, special characters, tags, tables and the
preambles that pod2man and docbook write. Pages in mdoc(7), the other macro language, are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class ManualPage:
    """A manual page as text.

    Attributes:
        name: Of the file: ``"strcpy"``.
        section: ``"3"``; ``"3pm"`` is kept whole.
        names: What the page calls itself, in the order of its NAME section.
        description: The rest of the NAME section's line: ``"copy a string"``.
        sections: Heading and text of every other section, in their order, each text on one line.
    """

    name: str
    section: str
    names: tuple[str, ...]
    description: str
    sections: tuple[tuple[str, str], ...]


def read_manual_page(
    source: str, *, name: str, section: str, heading: str = "NAME"
) -> ManualPage | None:
    """Read one page.

    Args:
        source: The roff source.
        name: Of the file, without section and suffix.
        section: Of the file.
        heading: What the NAME section is called in the page's language: a regular expression that
            matches the whole heading in upper case.

    Returns:
        The page; None for what is no page of its own in man(7): a redirection (``.so``), mdoc(7),
        or a NAME section that is not ``names - description``.
    """
    if re.search(r"^\.\s*(so|Dd|Dt)\s", source, re.MULTILINE):
        return None
    sections = _sections(source)
    first, line = sections[0] if sections else ("", "")
    parts = re.split(r"\s+[-–—]+\s+", line, maxsplit=1)
    if not re.fullmatch(heading, first.upper()) or len(parts) != 2:
        return None
    names = tuple(part.strip() for part in parts[0].split(",") if part.strip())
    return ManualPage(name, section, names, parts[1].strip(), tuple(sections[1:]))


def _sections(source: str) -> list[tuple[str, str]]:
    found: list[tuple[str, list[str]]] = []
    for kind, text in _lines(source):
        if kind == "heading":
            found.append((text, []))
        elif found and text:
            found[-1][1].append(text)
    return [(heading, " ".join(" ".join(words).split())) for heading, words in found]


# ----------------------------------------------------------------------------------------- lines

_JOINED = {"BR", "RB", "IR", "RI", "BI", "IB"}
_SPACED = {"B", "I", "R", "SM", "SB", "IP", "SS", "UR", "MT", "OP", "SY", "TQ"}
_BLOCKS = {"de": r"\.\.", "am": r"\.\.", "ig": r"\.\.", "EQ": r"\.EN"}


def _lines(source: str) -> Iterator[tuple[str, str]]:
    """``("heading", text)`` and ``("text", text)``, in the page's order."""
    awaits_heading, until = False, ""
    for line in _table_text(_join_lines(source)):
        if until:
            until = "" if re.match(until, line) else until
            continue
        macro, rest = _macro(line)
        if macro in _BLOCKS:
            until = _BLOCKS[macro]
        elif macro == "{":
            until = r".*\\}"
        elif macro == "SH" and not rest.strip():
            awaits_heading = True
        elif awaits_heading and not macro:
            awaits_heading = False
            yield "heading", _unescape(line).strip()
        else:
            yield ("heading" if macro == "SH" else "text"), _shown(macro, rest)


def _join_lines(source: str) -> list[str]:
    """Lines without comments; a line that ends in a single backslash goes on in the next."""
    source = re.sub(r"(?<!\\)\\\n", "", source)
    return [re.sub(r'(?<!\\)\\["#].*', "", line) for line in source.splitlines()]


def _table_text(lines: list[str]) -> Iterator[str]:
    """Of tables (tbl) only the cells; layout lines end with the one that ends in a full stop."""
    in_table = in_layout = in_cell = False
    separator = "\t"
    for line in lines:
        if line.startswith((".TS", ".TE")):
            in_table = in_layout = line.startswith(".TS")
            separator, in_cell = "\t", False
        elif in_table and line.startswith(".T&"):  # another layout for the rows that follow
            in_layout = True
        elif in_layout:
            in_layout = not line.rstrip().endswith(".")
            separator = (re.findall(r"tab\s*\((.)\)", line) or [separator])[0]
        elif in_table:
            in_cell = in_cell and not line.startswith("T}")
            cells = line if in_cell else re.sub(r"T[{}]", " ", line).replace(separator, " ")
            in_cell = in_cell or line.rstrip().endswith("T{")
            yield "" if re.fullmatch(r"[_=\s]*", cells) else cells
        else:
            yield line


def _macro(line: str) -> tuple[str, str]:
    """Name and arguments of a control line, ``("", line)`` of text.

    Of conditions those for a terminal (``n``) are followed, and blocks in braces are left out:
    they hold the preambles of pod2man and docbook.
    """
    match = re.match(r"[.']\s*(\S*)\s?(.*)", line)
    if not match:
        return "", line
    name, rest = match[1], match[2]
    if name in ("if", "ie", "el"):
        if re.search(r"\\{", rest) and not re.search(r"\\}", rest):
            return "{", ""
        shown = re.match(r"n\s+(.*)", rest)
        return _macro(shown[1]) if shown else ("comment", "")
    return name or "comment", rest


def _shown(macro: str, rest: str) -> str:
    """What a control line adds to the text."""
    if not macro:
        return _unescape(rest)
    if macro in _JOINED:
        return _unescape("".join(_arguments(rest)))
    if macro in _SPACED or macro == "SH":
        arguments = _arguments(rest)
        # The second argument of .IP is an indent; a bullet is no word.
        return _unescape(" ".join(arguments[:1] if macro == "IP" else arguments))
    return ""


def _arguments(rest: str) -> list[str]:
    found = re.findall(r'"((?:[^"]|"")*)"?|((?:\\.|[^\s"\\])(?:\\.|[^\s\\])*)', rest)
    return [quoted.replace('""', '"') or plain for quoted, plain in found]


# --------------------------------------------------------------------------------------- escapes

_CHARACTERS = {
    "em": "—", "en": "–", "hy": "-", "mi": "-", "bu": "•", "aq": "'", "dq": '"', "lq": "“",
    "rq": "”", "oq": "‘", "cq": "’", "co": "©", "rg": "®", "tm": "™", "mu": "×", "+-": "±",
    "<=": "≤", ">=": "≥", "!=": "≠", "->": "→", "<-": "←", "ha": "^", "ti": "~", "rs": "\\",
    "ga": "`", "bv": "|", "ba": "|", "at": "@", "sh": "#", "Do": "$", "lB": "[", "rB": "]",
    "lC": "{", "rC": "}", "la": "⟨", "ra": "⟩", "sl": "/", "de": "°", "12": "½", "ss": "ß",
    ":a": "ä", ":o": "ö", ":u": "ü", "'e": "é", "`e": "è", "pl": "+", "**": "*", "*m": "μ",
}  # fmt: skip
"""Special characters by their groff names (groff_char(7)); the others become a space."""

_STRINGS = {
    "Aq": "'", "lq": '"', "rq": '"', 'L"': '"', 'R"': '"', "C+": "C++", "--": "—", "C`": "`",
    "C'": "'", "Tm": "™", "R": "®",
}  # fmt: skip
"""Strings that man(7) and pod2man define."""

_ESCAPE = re.compile(
    r"""\\(?:
        [fFmMgkY](?:\((?P<drop1>..)|\[[^\]]*\]|.)     # fonts, colours, positions
      | s[+-]?(?:\(\d\d|\[[^\]]*\]|'[^']*'|\d{1,2})   # sizes
      | [hvwlLDbxNRXAZ]'[^']*'                        # motions, widths, drawings
      | n[+-]?(?:\(..|\[[^\]]*\]|.)                   # number registers
      | \*(?:\((?P<string2>..)|\[(?P<strings>[^\]]*)\]|(?P<string1>.))
      | \((?P<two>..)
      | \[(?P<long>[^\]]*)\]
      | (?P<one>.)
    )""",
    re.VERBOSE,
)

_SINGLE = {"-": "-", "e": "\\", "\\": "\\", " ": " ", "~": " ", "0": " ", "'": "'", "`": "`"}
_SINGLE |= {".": ".", "t": " "}


def _unescape(text: str) -> str:
    return _ESCAPE.sub(_character, text).rstrip("\\")


def _character(match: re.Match[str]) -> str:
    if match["one"]:
        return _SINGLE.get(match["one"], "")
    string = match["string2"] or match["strings"] or match["string1"]
    if string:
        return _STRINGS.get(string, "")
    name = match["two"] or match["long"]
    if not name:
        return ""
    code = re.fullmatch(r"u([0-9A-F]{4,6})", name)
    return chr(int(code[1], 16)) if code else _CHARACTERS.get(name, " ")
