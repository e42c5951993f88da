"""The rules of accounts: registration, login, logout.

Each function ends with the one commit that makes its result true. A counted try or mail is
committed earlier, because it must outlast a failure.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from gateway import clock, crypto, log, mail, throttle
from gateway.auth import clients, codes, joining, limits, locks, passwords
from gateway.auth.fields import Password
from gateway.auth.models import RevokedToken, User, email_key, name_key
from gateway.auth.tokens import Caller
from gateway.db import db, dialect
from gateway.errors import ApiError, Code
from gateway.throttle import Counter
from gateway.web.fields import MAX_SENT


def send_registration_code(user_name: str, email: str, ip: str, language: str) -> None:
    """Mail a registration code to an address that has no account.

    :raises ApiError: 1000 when not everybody may register, 1018, 1005, 429; 1003 when MAIL_DOMAINS
        or the relay refuses the address, 1029 when the relay did not take the mail.
    """
    joining.refuse_uninvited()
    address = email_key(email)
    joining.refuse_domain(address)
    _refuse_taken(name_key(user_name), address)
    counters = codes.count_mail(codes.REGISTER, address, ip)

    def send_mail(**content: object) -> None:
        mail.send(codes.REGISTER, email, language, **content)

    codes.send(codes.REGISTER, address, send_mail, counters)


def register(
    user_name: str, password: Password, email: str, reg_code: str, ip: str, *, language: str
) -> User:
    """Create an account and spend its code in one transaction.

    :param reg_code: a registration code, or that of an invitation.
    :param language: of later mails, one of ``mail.LANGUAGES``.
    :raises ApiError: 1000 when registration is closed or by invitation, 1003 when the password is
        the own name or address, or MAIL_DOMAINS refuses the address, 1018, 1005 or 1008.
    """
    purpose = joining.purpose_of(reg_code)
    passwords.refuse_own(password, user_name, email)
    user = new_user(user_name, email)
    user.language = language
    joining.refuse_domain(user.email_key)
    _refuse_taken(user.name_key, user.email_key)
    codes.refuse_hopeless(purpose, user.email_key, reg_code)
    throttle.SIGN_INS.take()
    # Hash first, because hashing is slow and spending the code locks its row.
    user.password_hash = crypto.hash_password(password.proof)
    codes.spend(purpose, user.email_key, reg_code)
    add(user, *limits.of_guesses(ip, user.name_key, user.email_key))
    return user


def new_user(user_name: str, email: str) -> User:
    """Return an account that is not yet in the database and has no password."""
    return User(
        user_name=user_name,
        name_key=name_key(user_name),
        email=email,
        email_key=email_key(email),
        created_at=clock.now(),
    )


def add(user: User, *cleared: Counter) -> None:
    """Commit a new account together with the rest of the transaction, or nothing of it.

    :param cleared: counters to forget.
    :raises ApiError: 1018 or 1005.
    """
    keys = user.name_key, user.email_key
    db.session.add(user)
    try:
        db.session.flush()
        throttle.clear(*cleared)  # after the account's row, as everywhere
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        _refuse_taken(*keys)
        raise


def _refuse_taken(name_key: str, email_key: str) -> None:
    """Raise 1018 when the address has an account, else 1005 when the name is taken."""
    refuse_taken_address(email_key)
    if db.session.scalar(select(User.id).where(User.name_key == name_key)):
        raise ApiError(Code.USER_NAME_EXISTS)


def refuse_taken_address(email_key: str) -> None:
    """Raise 1018 when the address has an account."""
    if db.session.scalar(select(User.id).where(User.email_key == email_key)):
        raise ApiError(Code.EMAIL_EXISTS)


def login(user_name: str, password: Password, ip: str, language: str | None) -> User:
    """Return the account that a user name, or an address, and a password belong to.

    :param language: what the client asks for; None when it does not say.
    :raises ApiError: 1002, 1012 or 429.
    """
    user = find(user_name)
    if user is not None:
        log.note(user=user.id)
    is_known = bool(clients.known(user.id if user else None, ip))
    if not is_known:
        throttle.SIGN_INS.take()
    tries = limits.of_login(login_key(user_name), user, ip, known=is_known)
    password_hash = user.password_hash if user else None
    if not passwords.is_right(password, password_hash, tries) or user is None:
        raise ApiError(Code.WRONG_CREDENTIALS)
    if user.is_banned:
        raise ApiError(Code.BANNED)
    if crypto.password_needs_rehash(user.password_hash):
        passwords.renew_hash(user, password)
    if locks.hold(User.id == user.id) is None:  # the account has been erased meanwhile
        db.session.rollback()
        raise ApiError(Code.WRONG_CREDENTIALS)
    user.language = language or user.language
    throttle.clear(*tries.cleared)
    clients.remember(user.id, ip)
    db.session.commit()
    return user


def find(name_or_email: str) -> User | None:
    """Return the account with this user name or e-mail address.

    No user name holds an "@", so a name is never taken for an address.
    """
    if len(name_or_email) > MAX_SENT:
        return None
    key = login_key(name_or_email)
    is_meant = User.email_key == key if "@" in name_or_email else User.name_key == key
    user: User | None = db.session.scalar(select(User).where(is_meant))
    return user


def login_key(name_or_email: str) -> str:
    """Return the unique form of what somebody logs in with."""
    return email_key(name_or_email) if "@" in name_or_email else name_key(name_or_email)


def logout(caller: Caller) -> None:
    """Revoke the token of the request until it has expired.

    :raises ApiError: 1001 when another request revoked it first.
    """
    # The revocation is kept a day longer. So a clock that is wrong for a while, here or on another
    # node, does not purge it early and let the token in again.
    until = datetime.fromtimestamp(caller.expires, timezone.utc) + timedelta(days=1)
    revoked = db.session.execute(
        dialect()
        .insert(RevokedToken)
        .values(jti=caller.jti, expires_at=until)
        .on_conflict_do_nothing()
        .returning(RevokedToken.jti)
    ).first()
    db.session.commit()
    if revoked is None:
        raise ApiError(Code.UNAUTHENTICATED)
