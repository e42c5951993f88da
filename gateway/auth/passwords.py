"""The rules of passwords: check, change, reset.

Each function that changes a password ends with the one commit that makes its result true.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import astuple

from sqlalchemy import select, update

from gateway import crypto, log, mail, throttle
from gateway.auth import codes, devices, limits, locks
from gateway.auth.common_passwords import md5, spellings
from gateway.auth.devices import Client
from gateway.auth.fields import Password
from gateway.auth.limits import Tries
from gateway.auth.models import User, email_key, find_user, name_key
from gateway.auth.tokens import Caller
from gateway.db import db, not_durable
from gateway.errors import ApiError, Code
from gateway.mail import outbox
from gateway.mail.models import OwedMail
from gateway.throttle import Counter


def prove(
    caller: Caller, password: Password, client: Client, sentence: str = "The password is wrong"
) -> str:
    """Refuse unless the password is that of the caller's account; return the caller's device.

    :param sentence: of the refusal.
    :raises ApiError: 1002, 429 after too many wrong ones, 1001 when the account has been erased
        meanwhile.
    """
    device = devices.of(client, caller.id)
    tries = limits.of_caller(caller.id, client.ip, device)
    if not is_right(password, caller, tries):
        raise refusal(caller.id, sentence)
    return device


def is_right(
    password: Password, owner: User | Caller | None, tries: Tries, *, by_stranger: bool = False
) -> bool:
    """Tell whether a password is right. Without an account, take the same time and say no.

    Right and wrong passwords are counted, and a right one clears the wrong ones. Check the counters
    again after hashing, so that parallel guesses cannot exceed the limit.

    :param tries: the counters, from ``gateway.auth.limits``.
    :param by_stranger: whether nothing but the password says who asks.
    :raises ApiError: 429.
    """
    throttle.check(*tries.wrong, tries.right)
    if by_stranger:  # after the counters, so that who is refused anyway takes nobody's place
        throttle.SIGN_INS.take()
    is_right = crypto.password_matches(password.proof, owner.password_hash if owner else None)
    if is_right:
        throttle.check(*tries.wrong)
    not_durable()
    is_gone = locks.hold(User.id == (owner.id if owner else 0)) is None
    if owner and is_gone:  # it has been erased meanwhile
        db.session.rollback()
        return False
    if is_right:
        throttle.hit(tries.right)
        throttle.clear(*(counter for counter in tries.wrong if counter.account))
    else:
        throttle.hit(*tries.wrong)
    db.session.commit()
    return is_right


def hold(caller: Caller, sentence: str = "The password is wrong") -> None:
    """Hold the account whose password was proved, unless the password was changed meanwhile.

    :raises ApiError: 1002, 1001 when the account has been erased meanwhile.
    """
    is_unchanged = User.token_generation == caller.token_generation
    if locks.hold(User.id == caller.id, is_unchanged) is None:
        db.session.rollback()
        raise refusal(caller.id, sentence)


def refusal(user_id: int, sentence: str = "The password is wrong") -> ApiError:
    """Return the refusal of a password that came with a token of the account.

    It is 1002, or 1001 when the account has been erased meanwhile.
    """
    if db.session.scalar(select(User.id).where(User.id == user_id)) is None:
        return ApiError(Code.UNAUTHENTICATED)
    return ApiError(Code.WRONG_CREDENTIALS, sentence)


def refuse_own(password: Password, *own: str, field: str = "password") -> None:
    """Refuse a password that is the account's own name or address.

    :param own: the name, the address, or both.
    :param field: the field of the request that the refusal names.
    :raises ApiError: 1003.
    """
    keys = {key(text) for text in own for key in (name_key, email_key)}
    if password.typed:
        is_own = not keys.isdisjoint({name_key(password.typed), email_key(password.typed)})
    else:
        ways = {way for text in {*own, *keys} for way in spellings(text)}
        is_own = password.proof in map(md5, ways)
    if is_own:
        text = f"{field} must not be the account's own name or address"
        raise ApiError(Code.INVALID_PARAMETER, text)


def change(caller: Caller, old_password: Password, new_password: Password, client: Client) -> None:
    """Set a new password and revoke every token of the account but the one that asks.

    :raises ApiError: 1003 when the new password is the own name or address, 1002 when the old one
        is wrong, 429 after too many of them, 1001 when the account has been erased meanwhile.
    """
    own = db.session.get(User, caller.id)
    if own is not None:
        refuse_own(new_password, own.user_name, own.email, field="new_password")
    sentence = "The old password is wrong"
    prove(caller, old_password, client, sentence)
    new_hash = crypto.hash_password(new_password.proof)
    hold(caller, sentence)
    set_hash(caller.id, new_hash, kept_jti=caller.jti)
    db.session.commit()


def set_hash(user_id: int, password_hash: str, *, kept_jti: str | None = None) -> None:
    """Set an account's password and revoke its tokens; the caller commits.

    :param kept_jti: the one token that stays valid.
    """
    new = {"password_hash": password_hash, "token_generation": User.token_generation + 1}
    db.session.execute(update(User).where(User.id == user_id).values(**new, kept_jti=kept_jti))


def send_reset_code(email: str, client: Client, language: str) -> None:
    """Promise a code for a new password; it is mailed after the response has been sent.

    The response must not tell whether the address has an account. So an unknown address takes the
    same way without the mail.

    :raises ApiError: 429, or 1029 when no mail can be sent to anybody.
    """
    if not mail.is_possible():
        raise ApiError(Code.MAIL_NOT_SENT)
    address = email_key(email)
    user = find_user(address)
    device = devices.of(client, user.id if user else None)
    if not device:
        throttle.check(*limits.mails(codes.RESET, address, client.ip))
        throttle.MAILS.take()
    user_id = locks.hold(User.email_key == address)
    counters = limits.mails(codes.RESET, address, client.ip, device=device, account=user_id)
    throttle.hit(*counters)
    details = {"counters": [astuple(counter) for counter in counters], "counted": True}
    asker = devices.asker(client, device)
    outbox.promise(codes.RESET, address, language, codes.LIFETIME, asker=asker, **details)
    db.session.commit()
    outbox.send_soon()


def mail_reset_code(owed: OwedMail) -> None:
    """Mail a promised code, if the address has an account.

    When the relay cannot be used at all, the mail counts for nothing until it is sent. What the
    relay says about the address changes no counter, because that would tell who has an account.

    :raises MailError: when the mail is to be tried again.
    """
    address, is_counted = owed.key, owed.details["counted"]
    counters = [Counter(*counted) for counted in owed.details["counters"]]
    user = find_user(address)
    user_id, email = (user.id, user.email) if user else (None, None)
    db.session.commit()
    owed.details = {**owed.details, "user_id": user_id}
    if email is None:
        log.logger.info("reset-code: no account has this address; nothing is mailed")
    try:
        code = codes.mail_code(codes.RESET, email, owed.language)
    except mail.MailError as error:
        if is_counted and not error.begun:
            throttle.undo(*counters)
            owed.details = {**owed.details, "counted": False}
        raise
    if not is_counted and locks.hold(User.email_key == address) == user_id:
        with suppress(ApiError):  # another mail was counted meanwhile; this rolls back
            throttle.hit(*counters)
    if locks.hold(User.email_key == address) == user_id:  # nobody has erased or moved it meanwhile
        codes.store(codes.RESET, address, code, owed.asker)
    else:
        db.session.rollback()


outbox.senders[codes.RESET] = mail_reset_code


def reset(email: str, reg_code: str, password: Password, client: Client) -> int:
    """Set a new password, spend the code, revoke every token and lift every lock, all or nothing.

    :returns: the account's id.
    :raises ApiError: 1008, 1003 when the password is the own name or address. Only the right code
        learns the latter, because it would tell whose address this is.
    """
    address = email_key(email)
    user = find_user(address)
    device = devices.of(client, user.id if user else None)
    if not device:
        throttle.SIGN_INS.take()
    # Read them now, because the check may end the transaction, and the account may be erased then.
    user_id, names = (user.id, (user.user_name, user.email)) if user else (0, ("", ""))
    codes.check(codes.RESET, address, reg_code, devices.asker(client, device), client.ip)
    if user is None:  # somebody guessed the code of an address without an account
        raise ApiError(Code.WRONG_CODE)
    refuse_own(password, *names)
    # Hash first, because hashing is slow and spending the code locks its row.
    new_hash = crypto.hash_password(password.proof)
    locks.hold(User.id == user_id)
    codes.spend(codes.RESET, address, reg_code)  # no code outlives its account
    set_hash(user_id, new_hash)
    throttle.clear_account(user_id, limits.PASSWORD_LOCKS)
    db.session.commit()
    return user_id
