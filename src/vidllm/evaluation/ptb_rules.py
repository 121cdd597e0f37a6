"""The lexical rules of Penn Treebank tokens, as Stanford CoreNLP 3.4.1 decides them.

The lexer of `vidllm.evaluation.ptb_tokenizer` tries the rules at a position. The longest match
wins, what a rule merely looks at behind its token included; of equals, the earlier rule: the order
of `RULES` matters. Case does not, except where a rule says so.

What counts as an abbreviation was established by asking the Java tokeniser about each word in eight
contexts. Rules that only decide where a sentence ends are left out: they change nothing but the
number of full stops, which captioning metrics drop.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

Change = Literal["", "word", "quotes", "spaces", "brackets", "ampersands"]

ABBREVIATIONS = (
    "al ala apr ariz assn aug bancorp bhd bldg blvd bros calif co colo conn corp cos ct dak dec "
    "ed[.]d esq est etc ext feb fla fri ga inc ind intl jan jr jul jun kans? ky ltd mar md mich "
    "minn mo mon mont neb nev nov oct okla penn ph[.]d plc rd rt sept? seq sq sr sys tel tenn thu "
    "thurs tues? univ va vt wed wisc? wyo (?-i:A)rk (?-i:A)z (?-i:D)el (?-i:I)ll (?-i:L)a "
    "(?-i:M)ass (?-i:M)iss (?-i:O)re (?-i:P)a (?-i:T)ex (?-i:W)ash pp?t(?-i:[ye])s?"
)
"""Words that keep their full stop wherever they stand; some with a capital only."""

TITLES = (
    "adj adm adv alex assoc asst attys? ave brig capt cf cie cmdr col comdr cpl dept det drs? elec "
    "ens ft gen govs? hon insp invt jos lieut lt maj messrs mlle mme mrs? ms msgr mt natl pfc ph "
    "pres profs? pvt reps? rev sens? sfc sgt spc ste? supts? treas vs wm m(?-i:[ft])g"
)
"""The same, before names."""

NUMBER_ABBREVIATIONS = "art bldg ca figs? nos? op pp prop"
"""Words that keep their full stop before a number."""

SENTENCE_STARTERS = (
    "About According Additionally After An A As At But Earlier He Her Here However If In It Last "
    "Many More Mr[.] Ms[.] Now Once One Other Our She Since So Some Such That The Their Then There "
    "These They This We When While What Yet You"
)
"""After a single letter and a full stop, these show that a sentence ended."""

MARKS_WITHIN_WORDS = (
    "00AD 0237-024F 02C2-02C5 02D2-02DF 02E5-02FF 0300-036F 0370-037D 0384-0385 03CF 03F6 "
    "03FC-03FF 0483-0487 055A-055F 0591-05BD 05BF 05C1-05C2 05C4-05C5 05C7 0615-061A 064B-065E "
    "0670 06D6-06EF 06FA-06FF 070F 0711 0730-074F 07A6-07B1 07CA-07F5 07FA 0900-0903 093C "
    "093E-094E 0951-0955 0962-0963 0981-0983 09BC-09C4 0A01-0A03 0A3C 0A3E-0A4F 0E30-0E3A "
    "0E47-0E4E 0EB1-0EBC 0EC8-0ECD "
)
"""Code points that are no letters, but letters to the lexer."""

CURRENCIES = {"¢": "cents", "£": "#", "€": "$", "¤": "$", "\u0080": "$", "\u20a0": "$"}
BRACKETS = {"(": "-LRB-", ")": "-RRB-", "{": "-LCB-", "}": "-RCB-", "[": "-LSB-", "]": "-RSB-"}
FRACTIONS = {"¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}


def _letter_ranges() -> str:
    """Java's letters of the basic plane, and the marks above, for a character class."""
    codes = {code for code in range(0x80, 0xFFFF) if unicodedata.category(chr(code))[0] == "L"}
    for item in MARKS_WITHIN_WORDS.split():
        first, _, last = item.partition("-")
        codes.update(range(int(first, 16), int(last or first, 16) + 1))
    starts = sorted(code for code in codes if code - 1 not in codes)
    ends = sorted(code for code in codes if code + 1 not in codes)
    return "".join(f"{chr(a)}-{chr(b)}" for a, b in zip(starts, ends, strict=True))


def _any_of(words: str) -> str:
    """A pattern for any of the words, the longest first."""
    return f"(?:{'|'.join(sorted(words.split(), key=len, reverse=True))})"


def _capitalized(words: str) -> str:
    """The same, where the first letter must be the capital that it is."""
    return _any_of(" ".join(f"(?-i:{word[0]}){word[1:]}" for word in words.split()))


LETTER_RANGES = "A-Za-z" + _letter_ranges()
LETTER = rf"(?:[{LETTER_RANGES}]|&[aeiou](?:acute|grave|uml);)"
ALNUM = rf"[{LETTER_RANGES}\d]"
BLANK = "[ \\t\u00a0\u2000-\u200a\u3000\r\n\u2028\u2029\u000b\u000c\u0085]"
SPACE = "[ \\t\u00a0\u2000-\u200a\u3000]"
APOSTROPHE = "(?:['\u0092\u2019]|&apos;)"
ANY_APOSTROPHE = "(?:['`\u0092\u2019\u0091\u2018\u201b]|&apos;)"
WORD = rf"{LETTER}(?:{LETTER}|\d)*(?:[.!?]{LETTER}(?:{LETTER}|\d)*)*"
NUMBER = r"(?:\d+(?:[.:,\u00ad]\d+)*|(?:[.:,\u00ad]\d+)+)"
CLITIC = rf"{APOSTROPHE}(?:[msd]|re|ve|ll)"
NEGATION = rf"n{ANY_APOSTROPHE}t"
NEGATED = r"[a-z\u00ad]*[a-mo-z]\u00ad*"
NATIONS = r"(?:canada|sino|korean|eu|japan|non)-u\.s|u\.s\.-(?:u\.s\.s\.r|u\.k)"
ACRONYM = rf"(?:{NATIONS}|[a-z](?:\.[a-z])*)"
LONG_ACRONYM = rf"(?:{NATIONS}|[a-z](?:\.[a-z])+)"
HYPHEN = "[-_\u058a\u2010\u2011]"
ELIDED = rf"(?:[dol]{ANY_APOSTROPHE}{ALNUM})?"
COMPOUND = rf"{ELIDED}{ALNUM}+(?:{HYPHEN}{ELIDED}{ALNUM}+)*"
HYPHENATED = rf"[a-z0-9][a-z0-9.,\u00ad]*(?:-(?:{LONG_ACRONYM}\.|[a-z0-9\u00ad]+))+"
INITIALS = r"(?-i:[A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+)"
SLASHED = r"[a-z0-9]+(?:-[a-z]+){0,2}(?:\\?/[a-z0-9]+(?:-[a-z]+){0,2}){1,2}"
APOSTROPHE_WORD = (
    rf"{APOSTROPHE}n{APOSTROPHE}?|dunkin{APOSTROPHE}|somethin{APOSTROPHE}"
    rf"|ol{APOSTROPHE}|{APOSTROPHE}em|(?-i:[A-HJ-XZn]){ANY_APOSTROPHE}[{LETTER_RANGES}]{{2,}}"
    rf"|{APOSTROPHE}[2-9]0s|{APOSTROPHE}till?"
    rf"|[{LETTER_RANGES}]+[aeiouy]{ANY_APOSTROPHE}(?-i:[aeiouA-Z])[{LETTER_RANGES}]*"
    rf"|{APOSTROPHE}cause|cont'd\.?|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l|o{ANY_APOSTROPHE}o|[ldj]{APOSTROPHE}"
)
TAG_NAME = r"[a-z][a-z0-9_:.\-]*"
TAG = (
    rf"<(?:[!?][a-z\-][^>\r\n]*|{TAG_NAME}(?: +(?:{TAG_NAME} *= *(?:'[^'\r\n]*'|\"[^\"\r\n]*\""
    rf"|{TAG_NAME})|{TAG_NAME}))* */?|/{TAG_NAME}) *>"
)
WEB_ADDRESS = (
    r"(?:www\.(?:[^ \t\n\f\r\"<>|.!?(){},]+\.)+[a-z]{2,4}"
    r"|(?:[^ \t\n\f\r\"`'<>|.!?(){},\-_$]+\.)+(?:com|net|org|edu))"
    r"(?:/[^ \t\n\f\r\"<>|()]+[^ \t\n\f\r\"<>|.!?(){},\-])?"
)
URL = r"https?://[^ \t\n\f\r\"<>|()]+[^ \t\n\f\r\"<>|.!?(){},\-]"
EMAIL = (
    r"(?:&lt;|<)?[a-z0-9][^ \t\n\f\r\"<>|(){}\u00a0]*@(?:[^ \t\n\f\r\"<>|(){}.\u00a0]+\.)*"
    r"[^ \t\n\f\r\"<>|(){}.\u00a0]+(?:&gt;|>)?"
)
FILE_NAME = (
    r"[a-z0-9]+(?:\.[a-z0-9]+)*\.(?:bat|bmp|c|class|cgi|cpp|dll|doc|docx|exe|gif|gz|h|htm|html"
    r"|jar|java|jpeg|jpg|mov|mp3|pdf|php|pl|png|ppt|ps|py|sql|tar|txt|wav|x|xml|zip)"
)
TELEPHONE = (
    r"(?:\([0-9]{2,3}\)[ \u00a0]?|(?:\+\+?)?(?:[0-9]{2,4}[- \u00a0])?[0-9]{2,4}[- \u00a0])"
    r"[0-9]{3,4}[- \u00a0]?[0-9]{3,5}|(?:(?:\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}"
)
FRACTION = r"(?:\d{1,4}[- \u00a0])?\d{1,4}(?:\\?/|\u2044)\d{1,4}"
IN_SENTENCE = "[,;:\u3001]"
QUOTE = rf"(?:''|[`\u2018-\u201f\u0091-\u0094\u2039\u203a\u00ab\u00bb]{{1,2}}|{APOSTROPHE})"
DOUBLE_QUOTE = r"(?:\"|&quot;)"
SMILEY = r"[<>]?[:;=](?-i:[\-o*'])?(?-i:[()DPdpO\\{@|\[\]])"
ASIAN_SMILEY = r"[\-^x=~<>']_[\-^x=~<>']|\([\-^x=~<>'][_.]?[\-^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'`]\)"
SYMBOL = (
    "[+%&~^|\\\\¦§¨©¬®¯°-³´-º×÷\u0387\u05be\u05c0\u05c3\u05c6\u05f3\u05f4\u0600-\u0603\u0606-\u060a"
    "\u060c\u0614\u061b\u061e\u066a\u066d\u0703-\u070d\u07f6-\u07f8\u0964\u0965\u0e4f\u1fbd\u2016"
    "\u2017\u2020-\u2023\u2030-\u2038\u203b\u203e-\u2042\u2044\u207a-\u207f\u208a-\u208e\u2100-\u214f"
    "\u2190-\u21ff\u2200-\u2bff\u3012\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]"
)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One kind of token."""

    pattern: re.Pattern[str]
    """Group 1 is what stands behind the token, where the rule asks for something there."""
    change: Change
    """``word``: soft hyphens go. ``quotes``: quotes inside become ASCII. ``spaces``: they become
    no-break. ``brackets``: those of telephone numbers and smileys are named. ``ampersands``: HTML's
    become plain."""
    replacement: str
    """Instead of the token, where not empty."""
    split: int
    """Give this many last characters back: ``cannot`` is ``can`` and ``not``."""


def _rule(
    token: str, behind: str = "", *, change: Change = "", replacement: str = "", split: int = 0
) -> Rule:
    pattern = f"(?:{token})" + (f"(?=({behind}))" if behind else "")
    return Rule(
        pattern=re.compile(pattern, re.IGNORECASE),
        change=change,
        replacement=replacement,
        split=split,
    )


RULES = (
    _rule(r"c\+\+|[cf]#"),
    _rule("cannot|'twas", split=3),
    _rule(rf"{APOSTROPHE}tis|gonna|gotta|lemme|gimme|wanna", split=2),
    _rule(TAG, change="spaces"),
    _rule("&(?:md|mdash|ndash);|[\u0096\u0097\u2013-\u2015]", replacement="--"),
    _rule("&amp;", replacement="&"),
    _rule("&(?:ht|tl|ur|lr|qc|ql|qr|odq|cdq|#[0-9]+);"),
    _rule(WORD, CLITIC, change="word"),
    _rule(NEGATED, NEGATION, change="word"),
    _rule(WORD, change="word"),
    _rule(APOSTROPHE_WORD),
    _rule(rf"y{APOSTROPHE}", f"[{LETTER_RANGES}]"),
    _rule(URL),
    _rule(WEB_ADDRESS),
    _rule(EMAIL),
    _rule(rf"@[a-z_][a-z_0-9]*|#{LETTER}+"),
    _rule(CLITIC, "[^a-zA-Z]", change="quotes"),
    _rule(NEGATION, "[^a-zA-Z]", change="quotes"),
    _rule(r"\d{1,2}[\-/]\d{1,2}[\-/]\d{2,4}"),
    _rule(rf"[\-+]?{NUMBER}", change="word"),
    _rule(
        "[\u207a\u207b\u208a\u208b]?(?:[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+|[\u2080-\u2089]+)"
    ),
    _rule(FRACTION, change="spaces"),
    *(_rule(sign, replacement=words) for sign, words in FRACTIONS.items()),
    _rule("[\u2155-\u215e]"),
    _rule(
        rf"-(?:rrb|lrb|rcb|lcb|rsb|lsb)-|c\.d\.s|pro-|anti-|s(?:&|&amp;)p-500|s(?:&|&amp;)ls|cap{APOSTROPHE}n|c{APOSTROPHE}est"
    ),
    _rule(SLASHED),
    _rule(r"(?-i:[A-Z])*\$|#"),
    *(_rule(sign, replacement=name) for sign, name in CURRENCIES.items()),
    _rule("[¥\u060b\u0e3f\u20a4\uffe0\uffe1\uffe5\uffe6]"),
    _rule(r"[a-z](?=\.)", rf"\.{BLANK}+{_capitalized(SENTENCE_STARTERS)}{BLANK}"),
    _rule(rf"{_any_of(NUMBER_ABBREVIATIONS)}\.", rf"{BLANK}?\d"),
    _rule(r"(?-i:So|No)\.", rf"{SPACE}+(?:africa|korea|cal)"),
    _rule(rf"{_any_of(ABBREVIATIONS)}\.", r"[^\r\n]{2}"),
    _rule(rf"{_any_of(ABBREVIATIONS)}\."),
    _rule(rf"{_any_of(TITLES)}\."),
    _rule(rf"(?:{ACRONYM}|a\.k\.a)\."),
    _rule(ACRONYM, BLANK),
    _rule(rf"{APOSTROPHE}[0-9][0-9]", BLANK),
    _rule(FILE_NAME, rf"{BLANK}|[.?!,]"),
    _rule(rf"{WORD}\.", IN_SENTENCE, change="word"),
    _rule(TELEPHONE, change="brackets"),
    _rule(DOUBLE_QUOTE, replacement="''"),
    _rule("<|&lt;", replacement="<"),
    _rule(">|&gt;", replacement=">"),
    _rule(SMILEY, r"[^a-z0-9]", change="brackets"),
    _rule(ASIAN_SMILEY, change="brackets"),
    *(_rule(re.escape(sign), replacement=name) for sign, name in BRACKETS.items()),
    _rule("-+", replacement="--"),
    _rule(r"\.{3,5}|(?:\.[ \u00a0]){2,4}\.|[\u0085\u2026]", replacement="..."),
    _rule("@+|#+|_+"),
    _rule(r"\*+|(?:\\\*){1,3}"),
    _rule(IN_SENTENCE),
    _rule("[?!]+"),
    _rule("[.¡¿\u037e\u0589\u061f\u06d4\u0700-\u0702\u07fa\u3002]"),
    _rule("="),
    _rule("/"),
    _rule(HYPHENATED, change="word"),
    _rule(rf"{HYPHENATED}\.", IN_SENTENCE, change="word"),
    _rule(rf"{COMPOUND}\.", IN_SENTENCE),
    _rule(COMPOUND),
    _rule(rf"{INITIALS}\.", IN_SENTENCE, change="ampersands"),
    _rule(INITIALS, change="ampersands"),
    _rule("'", r"[a-z][^ \t\r\n\u00a0]", replacement="`"),
    _rule("'", rf"[aiu]{BLANK}", replacement="`"),
    _rule(QUOTE, change="quotes"),
    _rule(CLITIC, change="quotes"),
    _rule(NEGATION, change="quotes"),
    _rule("<<|>>"),
    _rule(SYMBOL),
)
