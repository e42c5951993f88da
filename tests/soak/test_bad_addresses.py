"""Bad addresses: each is refused, or gets exactly one mail and is its only recipient.

A number replaces the six zeros in each address, because each address may be used only once.
"""

from __future__ import annotations

import json
from contextlib import closing
from itertools import count

from fuzz import INVALID, RawConnection, fuzz_text, run_fuzz, words
from hypothesis import strategies as st

SENT = {(200, 0)}
MAIL_HEADERS = {
    "Auto-Submitted",
    "Content-Type",
    "Date",
    "From",
    "MIME-Version",
    "Message-ID",
    "Subject",
    "To",
}
LANGUAGES = st.sampled_from(words("zh  en  zh-CN,zh;q=0.9  *  zh;q=x  \xe9  ,;="))
ATOM = st.text("abcXYZ019_-+", min_size=1, max_size=12)
ODD_ATOM = st.text("abc019!#$%&'*+/=?^_`{|}~-", min_size=1, max_size=57)
DOMAIN = st.builds(
    "{}.{}".format,
    st.from_regex(r"([a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?\.){0,5}[a-z0-9]{1,20}", fullmatch=True),
    st.sampled_from(words("com  org  cn  co  museum  technology  xn--fiqs8s")),
)


def exactly(size):
    """Return an address of ``size`` characters with the longest allowed local part."""
    return f"000000{'x' * 58}@{'.'.join(['y' * 61] * 3)}.".ljust(size, "c")


GOOD = st.one_of(
    st.builds("000000.{}.{}@{}".format, ATOM, ATOM, DOMAIN),
    st.builds("000000{}+{}@{}".format, ATOM, ATOM, DOMAIN.map(str.upper)),
    st.integers(0, 58).map(lambda size: f"000000{'x' * size}@126.com"),
    st.sampled_from([exactly(253), exactly(254), "a@000000.com", f"000000@{'y' * 63}.com"]),
    st.sampled_from([" 000000@126.com", "000000@126.com ", "\u3000000000@126.com\u200b"]),
)
TOO_LONG = st.one_of(
    st.integers(59, 300).map(lambda size: f"000000{'x' * size}@126.com"),
    st.integers(64, 300).map(lambda size: f"000000@{'y' * size}.com"),
    st.integers(255, 256).map(exactly),
    st.integers(124, 2000).map(lambda size: f"000000@{'y.' * size}com"),
)
INJECTED = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "000000", "000000@b", "000000@b.com"]),
    st.sampled_from([f"{end}Bcc: x@y.com" for end in ("\r\n", "\n", "\r", "\r\n ", "\v", "\x85")])
    | st.sampled_from(["\0", "\t", "\r\n\r\nhello", "\r\nRCPT TO:<x@y.com>", "\r\n.\r\nQUIT"]),
    st.sampled_from(["", ".com", "@b.com", "a@b.com"]),
)
LISTS = st.builds(
    "{}000000@126.com{}{}@y.com".format,
    ATOM,
    st.sampled_from([",", ", ", ";", " ", "@", ">,<", " or ", "\u3000", "\xa0"]),
    ATOM,
)
NO_ADDRESSES = words(
    """000000  @  @126.com  000000@  000000@@126.com  000000@.com  000000@126..com  000000 @b.com
    .000000@126.com  000000.@126.com  0..000000@126.com  000000@-b.com  000000@b-.com
    000000 x@126.com  000000@126 .com  "000000@126.com  (000000@126.com  <000000@126.com>
    Lory <000000@126.com>  <a@b.com>,<000000@126.com>  <@x.com:000000@126.com>
    =?utf-8?q?000000?=@126.com  =?utf-8?b?eEB5LmNvbQ==?=000000@126.com  000000=?@126.com
    000000=?utf-8?q?=40y.com=2c?=@126.com  000000@=?utf-8?q?b?=.com  =?us-ascii?q?x?= 000000@126.com
    000000@[127.0.0.1]  000000@[IPv6:::1]  000000@127.0.0.1  "a b000000"@126.com"""
)
NO_ADDRESSES += ["\ud800000000@126.com"]
# These may be refused or accepted, but no mail may reach anybody else.
ROUTES = words(
    """x%y.com%  y.com!  @x.com,@y.com:  x=y.com@  postmaster%  |  -  -oQ/tmp  /  (note)  SRS0=
    mailto:  &  $(id)  `id`  %s  ' OR 1=1 --"""
)
INSIDE = words(r"(note)  \@x  \  [x]  :  ;  ,x  <x>  .'x y'.z  /x=1/  +x+y  %x@y")
INSIDE += ["", "ü", "用户", "ſ", "ﬁ", "\u200b", "\u202e", "İ", "😀", "e\u0301"]
DOMAINS = words(
    """1.2.3.4  localhost  b  b.c  b.c0m  b.123  b_c.com  xn--bcher-kva.de  xn--.com  0x7f.1
    bücher.de  126。com  126．com  ｂ.com  例え.jp  ß.de  K.com  b.cοm  \u200b.com  b\u00ad.com"""
)
BEHIND = words(
    r"""126.com.  126.com(note)  126.com:25  126.com/x  126.com?x=1  126.com#x  126.com%x
    126.com!x  126.com>  126.com\  126.com]  126.com> ORCPT=rfc822;x  126.com SIZE=1"""
)
STRANGE = st.one_of(
    st.builds("000000{}@{}".format, ODD_ATOM, DOMAIN),
    st.builds('"000000{}"@{}'.format, st.text("ab \\,;:<>@()[].", max_size=12), DOMAIN),
    st.builds("{}000000@{}".format, st.sampled_from(ROUTES), DOMAIN),
    st.builds("000000{}@{}".format, st.sampled_from(INSIDE), DOMAIN),
    st.builds("000000{}@{}".format, st.sampled_from(INSIDE), st.sampled_from(DOMAINS + BEHIND)),
    st.builds("000000{}@{}".format, fuzz_text, DOMAIN),
    st.builds("000000@{}.com".format, fuzz_text),
)
ADDRESSES = st.one_of(
    st.tuples(GOOD, st.just(SENT)),
    st.tuples(TOO_LONG | INJECTED | LISTS | st.sampled_from(NO_ADDRESSES), st.just(INVALID)),
    st.tuples(STRANGE, st.just(SENT | INVALID)),
)


def test_address_is_refused_or_is_the_only_recipient(start_service, relay, scale, tally, request):
    """An address is refused, or gets exactly one mail and is its only recipient."""
    number = count(100_000)
    with closing(RawConnection(start_service)) as raw_connection:

        def check(example):
            (template, expected), language = example
            n = str(next(number))
            address = template.replace("000000", n)
            relay.reset()
            body = json.dumps({"user_name": f"u{n}", "email": address}).encode()
            reply = raw_connection.post("/api/v1/auth-code", body, {"Accept-Language": language})
            assert reply[:2] in expected, (reply, address)
            if reply[1]:
                assert not relay.mails
                return
            (mail,) = relay.mails
            address = address.strip(" \u3000\u200b")  # what people paste around an address
            assert [*relay.codes] == [address]  # all recipients that the relay got
            assert [to.addr_spec for to in mail["To"].addresses] == [address]
            assert mail.get_all("To") == [address]
            assert {*mail.keys()} <= MAIL_HEADERS

        what = f"addresses asked to be mailed, {request.node.callspec.id}"
        run_fuzz(tally, what, check, st.tuples(ADDRESSES, LANGUAGES), scale(40, 2000))
