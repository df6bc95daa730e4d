"""Ids and dates of birth in text."""

import re
from collections.abc import Iterator

from iliopsoas.privacy.findings import BIRTH, COHORT_ID, NUMBER

# a hash holds runs of digits by chance
_HASH = re.compile(
    r"(?<![0-9A-Za-z])(?=[0-9]*[a-f])[0-9a-f]{16,128}(?![0-9A-Za-z])"
    r"|www\.w3\.org/[12]\d{3}/\d\d/[\w-]+"  # names of XML, some with a date
)
# neither the fraction of a number nor its whole part; 1234567.0 is an id that went through a float
_NOT_FRACTION = r"(?<!\d)(?<!\d\.)(?<![\s,;:(\[]\.)(?<!^\.)"
_NOT_WHOLE = r"(?!\d)(?!\.(?!0+(?!\d))\d)"
_RUN = re.compile(_NOT_FRACTION + r"\d{7}" + _NOT_WHOLE)
_WORD = re.compile(
    r"(?<![0-9A-Za-z])[A-Za-z]{0,12}" + _NOT_FRACTION + r"[1-9]\d{6}" + _NOT_WHOLE + r"(?![A-Za-z])"
)
_GROUPED = re.compile("(?<![\\d.,])\\d([,'\u00a0\u2009\u202f])\\d{3}\\1\\d{3}(?![\\d])")

_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_MM, _DD = r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])"
_BIRTHS = re.compile(
    rf"(?<![\d.])19\d\d(?P<a>[-/.]){_MM}(?P=a){_DD}(?!\d)"
    rf"|(?<![\d.])(?:{_DD}(?P<b>[-/.]){_MM}|{_MM}(?P<c>[-/.]){_DD})(?:[-/.])19\d\d(?![\d])"
    r"|(?<![\dA-Za-z.])19\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\d{6})?(?![\dA-Za-z])(?!\.\d)"
    rf"|(?<!\d){_DD}(?:st|nd|rd|th)?[\s-]+{_MONTH}[\s,-]+19\d\d(?!\d)"
    rf"|(?<![a-z]){_MONTH}\s+{_DD}(?:st|nd|rd|th)?,?\s+19\d\d(?!\d)",
    re.IGNORECASE,
)
# a name of birth followed closely by a year
_NAMED_BIRTH = re.compile(
    r"(?:birth[\s_-]*(?:date|day|year|month)|(?:date|year|month)[\s_-]*of[\s_-]*birth|\bdob\b"
    r"|\(?0010\s*,\s*0030\)?)\W{0,8}(?:[A-Z]{2}\W{1,3})?(?:19|20)\d\d",
    re.IGNORECASE,
)


def kinds(text: str, ids: frozenset = frozenset(), numbers: bool = True) -> Iterator[str]:
    """Kinds of findings in a text, each once.

    Parameters
    ----------
    ids : set of str
        EIDs that must not occur, whatever stands beside them.
    numbers : bool
        Whether any whole number of seven digits counts too.
    """
    text = _HASH.sub(" ", text)
    if ids and (
        any(run.group() in ids for run in _RUN.finditer(text))
        or any(re.sub(r"\D", "", found.group()) in ids for found in _GROUPED.finditer(text))
    ):
        yield COHORT_ID
    elif numbers and _WORD.search(text):
        yield NUMBER
    if _BIRTHS.search(text) or _NAMED_BIRTH.search(text):
        yield BIRTH
