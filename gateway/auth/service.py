"""The rules of accounts.

Each function ends with the one commit that makes it true; what must outlast a failure, a try or
a mail counted, is committed before.
"""

from __future__ import annotations

import hmac
import string
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from flask import current_app
from sqlalchemy import ColumnElement, bindparam, delete, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from gateway import background, clock, crypto, log, mail, throttle
from gateway.auth.models import MailCode, RevokedToken, User, email_key, name_key
from gateway.auth.tokens import Caller
from gateway.errors import ApiError, Code
from gateway.extensions import UtcDateTime, db, upsert
from gateway.statement import Statement
from gateway.throttle import DAY, HOUR, MINUTE, Counter, ThrottleCount

REGISTER, RESET = "register", "reset"  # what a code is for, and the folder of its mail
RESET_DIGITS = 8
ALL_TOKENS_REVOKED: dict[str, Any] = {
    "token_generation": User.token_generation + 1,
    "kept_jti": None,
}
CODE_LIFE = timedelta(minutes=10)
CODE_TRIES = 5


def send_registration_code(user_name: str, email: str, ip: str, language: str) -> None:
    """Mail a registration code to an address that is not registered.

    :raises ApiError: 1018, 1005, 429, or 1029 when the relay did not take the mail.
    """
    _refuse_taken(user_name, email)
    counters = _count_mail(REGISTER, email, ip)

    def send(**content: object) -> None:
        mail.send(REGISTER, email, language, **content)

    if not _deliver_code(REGISTER, email, current_app.config["REG_CODE_DIGITS"], send, counters):
        raise ApiError(Code.MAIL_NOT_SENT)


def register(user_name: str, password: str, email: str, reg_code: str) -> User:
    """Make an account; the code is spent in the same transaction, or not at all.

    :raises ApiError: 1018, 1005 or 1008.
    """
    _refuse_taken(user_name, email)
    _refuse_without_open_code(REGISTER, email)
    # Hashing is slow, so it happens before the code's row is locked.
    user = new_user(user_name, email, password)
    _spend_code(REGISTER, email, reg_code)
    add(user)
    return user


def new_user(user_name: str, email: str, password: str) -> User:
    """Return an account that is not in the database yet."""
    return User(
        user_name=user_name,
        name_key=name_key(user_name),
        email=email,
        email_key=email_key(email),
        password_hash=crypto.hash_password(password),
        created_at=clock.now(),
    )


def add(user: User) -> None:
    """Commit a new account, with all else that the transaction did, or nothing of it.

    :raises ApiError: 1018 or 1005.
    """
    user_name, email = user.user_name, user.email
    db.session.add(user)
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        _refuse_taken(user_name, email)
        raise


def login(user_name: str, password: str, ip: str) -> User:
    """Return the account that a name, or address, and a password belong to.

    :raises ApiError: 1002, 1012 or 429.
    """
    user = find(user_name)
    if user is not None:
        log.note(user=user.id)
    who = f"user {user.id}" if user else f"name {name_key(user_name)}"
    password_hash = user.password_hash if user else None
    if not _password_is_right(password_hash, who, password, ip) or user is None:
        raise ApiError(Code.WRONG_CREDENTIALS)
    if user.is_banned:
        raise ApiError(Code.BANNED)
    if crypto.password_needs_rehash(user.password_hash):
        set_password(
            crypto.hash_password(password),
            User.id == user.id,
            User.token_generation == user.token_generation,
        )
    throttle.clear(*_failures_of(who, ip))  # after the account's row, as everywhere
    # The token is for the account as the password was judged by, not as it may be by now: a
    # reset at the same moment revokes it.
    db.session.commit()
    purge_expired()
    return user


def _failures_of(who: str, ip: str) -> tuple[Counter, Counter]:
    """Return the counters of an account's wrong passwords, which a right one clears."""
    return (
        Counter("login-account-ip", f"{who} {throttle.network(ip)}", 5, 15 * MINUTE),
        Counter("login-account", who, 100, DAY),
    )


def _password_is_right(password_hash: str | None, who: str, password: str, ip: str) -> bool:
    """Judge a password; without an account, and so a hash, spend the same time and say no.

    Failures are counted, successes are not. The counters are looked at before the password, and
    once more after it: of many guesses sent at once, none may win after the last one allowed.

    :param who: what the failures are counted under.
    :raises ApiError: 429.
    """
    of_client = Counter("login-ip", throttle.network(ip), 50, 15 * MINUTE)
    counters = (*_failures_of(who, ip), of_client)
    throttle.check(*counters)
    if crypto.password_matches(password, password_hash):
        throttle.check(*counters)
        return True
    purge_expired()
    throttle.take(*counters)
    db.session.commit()
    return False


def change_password(user: Caller, jti: str, old_password: str, new_password: str, ip: str) -> None:
    """Set another password and revoke every token of the account but the one that asks.

    :param jti: the id of that token.
    :raises ApiError: 1002 when the old password is wrong, 429 after too many of them.
    """
    who = f"user {user.id}"
    wrong = ApiError(Code.WRONG_CREDENTIALS, "The old password is wrong")
    if not _password_is_right(user.password_hash, who, old_password, ip):
        raise wrong
    changed = set_password(
        crypto.hash_password(new_password),
        User.id == user.id,
        User.token_generation == user.token_generation,  # else it is the old one no longer
        **{**ALL_TOKENS_REVOKED, "kept_jti": jti},
    )
    if changed is None:
        db.session.rollback()
        raise wrong
    throttle.clear(*_failures_of(who, ip))
    db.session.commit()


def send_reset_code(email: str, ip: str, language: str) -> None:
    """Mail a code for a new password once the reply is on its way.

    Nothing tells whether the address has an account: it is looked up after the reply, and one
    without goes the same way, but for the mail.

    :raises ApiError: 429, or 1029 when no mail can be sent to anybody.
    """
    if not mail.is_possible():
        raise ApiError(Code.MAIL_NOT_SENT)
    counters = _count_mail(RESET, email, ip)
    try:
        background.run(_mail_reset_code, email, language, counters)
    except RuntimeError:  # no thread can be started
        throttle.give_back(*counters)
        db.session.commit()
        raise ApiError(Code.MAIL_NOT_SENT) from None


def _mail_reset_code(email: str, language: str, counters: tuple[Counter, ...]) -> None:
    address = db.session.scalar(select(User.email).where(User.email_key == email_key(email)))
    db.session.commit()
    if address is None:
        log.logger.info("reset-code: no account has this address; nothing is mailed")

    def send(**content: object) -> None:
        if address is None:
            mail.probe()  # it counts for nothing, too, when the relay does not take mails
        else:
            mail.send(RESET, address, language, **content)

    _deliver_code(RESET, email, RESET_DIGITS, send, counters)


def reset_password(email: str, reg_code: str, password: str, ip: str) -> int:
    """Set a new password, spend the code and revoke every token, all or nothing.

    :returns: the account's id.
    :raises ApiError: 1008.
    """
    _refuse_without_open_code(RESET, email)
    password_hash = crypto.hash_password(password)
    _spend_code(RESET, email, reg_code)
    user_id = set_password(
        password_hash,
        User.email_key == email_key(email),
        **ALL_TOKENS_REVOKED,
    )
    if user_id is not None:
        throttle.clear(*_failures_of(f"user {user_id}", ip))
    db.session.commit()
    if user_id is None:  # the code that nobody was mailed was guessed
        raise ApiError(Code.WRONG_CODE)
    return user_id


def set_password(password_hash: str, *which: ColumnElement[bool], **values: object) -> int | None:
    """Change the account that matches; return its id. The caller commits."""
    user_id: int | None = db.session.scalar(
        update(User)
        .where(*which)
        .values(password_hash=password_hash, **values)
        .returning(User.id)
        .execution_options(synchronize_session=False)
    )
    return user_id


def logout(jti: str, expires: int) -> None:
    """Revoke a token until it has expired of itself.

    :param expires: the token's ``exp``, unix seconds.
    :raises ApiError: 1001 when another request revoked it first.
    """
    # A margin, so that a clock that is wrong for a while, here or on another node, does not have
    # the revocation purged and the token in again.
    until = datetime.fromtimestamp(expires, timezone.utc) + timedelta(days=1)
    revoked = db.session.execute(
        upsert(RevokedToken)
        .values(jti=jti, expires_at=until)
        .on_conflict_do_nothing()
        .returning(RevokedToken.jti)
    ).first()
    db.session.commit()
    if revoked is None:
        raise ApiError(Code.UNAUTHENTICATED)


_BY_KEY = {
    key: Statement(select(*User.__table__.c).where(User.__table__.c[key] == bindparam("key")))
    for key in ("email_key", "name_key")
}


def find(name_or_email: str) -> User | None:
    """Return an account as it is now; what becomes of the object does not reach the database.

    No user name holds an "@", so names and addresses never collide.
    """
    if "@" in name_or_email:
        row = _BY_KEY["email_key"].first({"key": email_key(name_or_email)})
    else:
        row = _BY_KEY["name_key"].first({"key": name_key(name_or_email)})
    return User(**row._asdict()) if row else None


def _refuse_taken(user_name: str, email: str) -> None:
    """Raise 1018 or 1005, the address first."""
    if db.session.scalar(select(User.id).where(User.email_key == email_key(email))):
        raise ApiError(Code.EMAIL_EXISTS)
    if db.session.scalar(select(User.id).where(User.name_key == name_key(user_name))):
        raise ApiError(Code.USER_NAME_EXISTS)


def _count_mail(purpose: str, email: str, ip: str) -> tuple[Counter, ...]:
    """Count a mail before it is sent, and return what to give back if it was not.

    :raises ApiError: 429.
    """
    subject = f"{purpose} {email_key(email)}"
    counters = (
        Counter("mail-minute", subject, 1, MINUTE),
        Counter("mail-day", subject, 5, DAY),
        Counter("mail-ip", throttle.network(ip), current_app.config["MAILS_PER_IP"], HOUR),
    )
    purge_expired()
    throttle.take(*counters)
    db.session.commit()
    return counters


def _deliver_code(
    purpose: str,
    email: str,
    digits: int,
    send: Callable[..., None],
    counters: tuple[Counter, ...],
) -> bool:
    """Make a code, send it, and record it once the relay has taken the mail.

    No transaction is open while the relay is talked to. A mail that could not be sent counts for
    nothing, and the code before it stays good.

    :returns: whether the mail was sent.
    """
    address = email_key(email)
    code = crypto.random_text(digits, string.digits)
    try:
        send(code=code, minutes=CODE_LIFE // timedelta(minutes=1))
    except mail.MailError as error:
        log.logger.error("mail not sent: %s", error)
        throttle.give_back(*counters)
        db.session.commit()
        return False
    fresh = {
        "code_hash": crypto.code_hash(purpose, address, code),
        "tries": 0,
        "expires_at": clock.now() + CODE_LIFE,
    }
    db.session.execute(
        upsert(MailCode)
        .values(purpose=purpose, email_key=address, **fresh)
        .on_conflict_do_update(index_elements=[MailCode.purpose, MailCode.email_key], set_=fresh)
    )
    db.session.commit()
    return True


def _is_open(purpose: str, email: str) -> tuple[ColumnElement[bool], ...]:
    now = clock.now()
    return (
        MailCode.purpose == purpose,
        MailCode.email_key == email_key(email),
        MailCode.expires_at > now,
        MailCode.expires_at <= now + CODE_LIFE + clock.LEEWAY,  # else the clock was set back
        MailCode.tries < CODE_TRIES,
    )


def _refuse_without_open_code(purpose: str, email: str) -> None:
    """Raise 1008 early when no code could be right, before anything costly."""
    if db.session.scalar(select(MailCode.tries).where(*_is_open(purpose, email))) is None:
        raise ApiError(Code.WRONG_CODE)


def _spend_code(purpose: str, email: str, code: str) -> None:
    """Use up the code within the caller's transaction; a wrong one costs a try, committed here.

    The try is counted, and the row locked, before the code is compared, so that guesses sent at
    once get no more tries than guesses sent in turn.

    :raises ApiError: 1008.
    """
    stored = db.session.scalar(
        update(MailCode)
        .where(*_is_open(purpose, email))
        .values(tries=MailCode.tries + 1)
        .returning(MailCode.code_hash)
    )
    given = crypto.code_hash(purpose, email_key(email), code)
    if stored is None or not hmac.compare_digest(stored, given):
        db.session.commit()
        raise ApiError(Code.WRONG_CODE)
    db.session.execute(
        delete(MailCode).where(MailCode.purpose == purpose, MailCode.email_key == email_key(email))
    )


def _purge(model: Any) -> Statement:
    """Return what deletes a table's rows past their time.

    Rows that another transaction holds are left for the next time: waiting for them could
    deadlock.
    """
    key = tuple(model.__table__.primary_key)
    expired = (
        select(*key)
        .where(model.expires_at <= bindparam("now", type_=UtcDateTime))
        .with_for_update(skip_locked=True)
    )
    return Statement(delete(model).where(tuple_(*key).in_(expired)).returning(*key))


_PURGES = {model.__tablename__: _purge(model) for model in (ThrottleCount, MailCode, RevokedToken)}


def purge_expired() -> dict[str, int]:
    """Delete rows past their time, each table's in a transaction of its own.

    :returns: how many rows went, by table.
    """
    return {table: len(purge.all({"now": clock.now()})) for table, purge in _PURGES.items()}
