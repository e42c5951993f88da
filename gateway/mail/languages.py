"""Choose the language of a mail by look-up, as RFC 4647 describes it in section 3.4."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def look_up(ranges: Iterable[tuple[str, float]], languages: Sequence[str]) -> str:
    """Return the language that fits the first range that any language fits.

    Look-up, unlike a search for the best match, honours the order of the person: "zh-CN" goes
    before "en;q=0.9", although only the latter is the name of a language here. Subtags are cut off
    from the end, so "zh-Hant-TW" gets "zh", too.

    :param ranges: the ranges of Accept-Language and their qualities; the client wants most what
        has the highest quality, and among equals what comes first. Quality 0 excludes a language.
        "*" stands last and conveys nothing.
    :param languages: the names of the languages there are; the first is the default.
    """
    wanted = [(name.replace("_", "-").lower(), quality) for name, quality in ranges]
    excluded = {name for name, quality in wanted if quality == 0}
    for name, _ in sorted((w for w in wanted if w[1] > 0), key=lambda w: -w[1]):
        tag = name
        while tag and tag not in languages:
            tag = tag.rpartition("-")[0]
        if tag and tag not in excluded:
            return tag
    allowed = [language for language in languages if language not in excluded]
    return (allowed or languages)[0]
