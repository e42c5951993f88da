"""The rules of passwords: check, change, reset.

Each function that changes a password ends with the one commit that makes its result true.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from sqlalchemy import select, update

from gateway import crypto, log, mail, throttle
from gateway.auth import clients, codes, limits, locks
from gateway.auth.common_passwords import md5, spellings
from gateway.auth.fields import Password
from gateway.auth.limits import Tries
from gateway.auth.models import User, email_key, name_key
from gateway.auth.tokens import Caller
from gateway.db import db, not_durable
from gateway.errors import ApiError, Code
from gateway.mail import outbox
from gateway.mail.outbox import OwedMail
from gateway.throttle import Counter
from gateway.web.client import network


def is_right(password: Password, password_hash: str | None, tries: Tries) -> bool:
    """Tell whether a password is right. Without a hash, take the same time and say no.

    Right and wrong passwords are counted. The counters are checked before the password and again
    after it: of many guesses that are sent at once, none may win after the last one allowed.

    :param tries: the counters, from ``gateway.auth.limits``.
    :raises ApiError: 429.
    """
    throttle.check(*tries.told, tries.right)
    is_locked = throttle.is_full(*tries.silent)
    if crypto.password_matches(password.proof, password_hash) and not is_locked:
        throttle.check(*tries.told)
        if not throttle.is_full(*tries.silent):
            return _count(tries.right.account, tries.right)
    _count(tries.right.account, *tries.told, beyond=tries.silent)
    return False


def refuse_own(password: Password, *own: str, field: str = "password") -> None:
    """Refuse a password that is the account's own name or address.

    :param own: the name, the address, or both.
    :param field: the field of the request that the refusal names.
    :raises ApiError: 1003.
    """
    keys = {name_key(text) for text in own} | {email_key(text) for text in own}
    if password.typed:
        is_own = not keys.isdisjoint({name_key(password.typed), email_key(password.typed)})
    else:
        is_own = any(
            md5(way) == password.proof for text in {*own, *keys} for way in spellings(text)
        )
    if is_own:
        text = f"{field} must not be the account's own name or address"
        raise ApiError(Code.INVALID_PARAMETER, text)


def _count(account: int | None, *counters: Counter, beyond: Collection[Counter] = ()) -> bool:
    """Count an event and commit; when the account has been erased meanwhile, do nothing.

    :returns: whether the account is still there.
    :raises ApiError: 429.
    """
    not_durable()
    is_gone = locks.hold(User.id == (account or 0)) != account
    if is_gone:
        db.session.rollback()
        return False
    throttle.hit(*counters, beyond=beyond)
    db.session.commit()
    return True


def refusal(user_id: int, sentence: str = "The password is wrong") -> ApiError:
    """Return the refusal of a password that came with a token of the account.

    It is 1002, or 1001 when the account has been erased meanwhile.
    """
    if db.session.scalar(select(User.id).where(User.id == user_id)) is None:
        return ApiError(Code.UNAUTHENTICATED)
    return ApiError(Code.WRONG_CREDENTIALS, sentence)


def renew_hash(user: User, password: Password) -> None:
    """Hash the right password again with today's parameters; the caller commits.

    A password that was changed in the meantime stays: then the token generation is another.
    """
    db.session.execute(
        update(User)
        .where(User.id == user.id, User.token_generation == user.token_generation)
        .values(password_hash=crypto.hash_password(password.proof))
    )


def change(caller: Caller, old_password: Password, new_password: Password, ip: str) -> None:
    """Set a new password and revoke every token of the account but the one that asks.

    :raises ApiError: 1003 when the new password is the own name or address, 1002 when the old one
        is wrong, 429 after too many of them, 1001 when the account has been erased meanwhile.
    """
    own = db.session.get(User, caller.id)
    if own is not None:
        refuse_own(new_password, own.user_name, own.email, field="new_password")
    tries = limits.of_caller(caller.id, ip, known=bool(clients.known(caller.id, ip)))
    if not is_right(old_password, caller.password_hash, tries):
        raise refusal(caller.id, "The old password is wrong")
    new_hash = crypto.hash_password(new_password.proof)
    if not set_hash(caller.id, new_hash, kept_jti=caller.jti, generation=caller.token_generation):
        db.session.rollback()  # another request changed the password first
        raise refusal(caller.id, "The old password is wrong")
    throttle.clear(*tries.cleared)
    db.session.commit()


def set_hash(
    user_id: int, password_hash: str, *, kept_jti: str | None = None, generation: int | None = None
) -> bool:
    """Set an account's password and revoke its tokens; the caller commits.

    :param kept_jti: the one token that stays valid.
    :param generation: change nothing when the account's token generation is another by now.
    :returns: whether the account was changed.
    """
    is_unchanged = () if generation is None else (User.token_generation == generation,)
    changed = db.session.scalar(
        update(User)
        .where(User.id == user_id, *is_unchanged)
        .values(
            password_hash=password_hash,
            token_generation=User.token_generation + 1,
            kept_jti=kept_jti,
        )
        .returning(User.id)
        .execution_options(synchronize_session=False)
    )
    return changed is not None


def send_reset_code(email: str, ip: str, language: str) -> None:
    """Promise a code for a new password; it is mailed after the response has been sent.

    The response must not tell whether the address has an account. So the account is looked up
    later, and an unknown address takes the same way without the mail. Whether the account knows the
    client is asked for every address.

    :raises ApiError: 429, or 1029 when no mail can be sent to anybody.
    """
    if not mail.is_possible():
        raise ApiError(Code.MAIL_NOT_SENT)
    address = email_key(email)
    client = clients.known(_id_of(address), ip)
    if not client:
        throttle.MAILS.take()
    user_id = locks.hold(User.email_key == address)
    throttle.hit(*limits.mails(codes.RESET, address, ip, known=client, account=user_id))
    asker = client or crypto.client_hash(0, network(ip))
    details = {"ip": ip, "client": client, "counted": True}
    outbox.promise(codes.RESET, address, language, codes.LIFETIME, asker=asker, **details)
    db.session.commit()
    outbox.send_soon()


def _id_of(address: str) -> int | None:
    return db.session.scalar(select(User.id).where(User.email_key == address))


@outbox.sender(codes.RESET)
def mail_reset_code(owed: OwedMail) -> None:
    """Mail a promised code, if the address has an account.

    When the relay cannot be used at all, the mail counts for nothing until it is sent. What the
    relay says about the address changes no counter, because that would tell who has an account.

    :raises MailError: when the mail is to be tried again.
    """
    address, is_counted = owed.key, owed.details["counted"]
    client, user_id = owed.details["client"], _id_of(address)
    counters = limits.mails(codes.RESET, address, owed.details["ip"], known=client, account=user_id)
    email = db.session.scalar(select(User.email).where(User.email_key == address))
    db.session.commit()
    owed.details = {**owed.details, "user_id": user_id}
    if email is None:
        log.logger.info("reset-code: no account has this address; nothing is mailed")

    def send_mail(**content: object) -> None:
        if email is None:
            mail.probe()  # when the relay fails, an unknown address must count for nothing, too
        else:
            mail.send(codes.RESET, email, owed.language, **content)

    def is_same_account() -> bool:
        return locks.hold(User.email_key == address) == user_id

    try:
        codes.issue(codes.RESET, address, send_mail, client, is_wanted=is_same_account)
    except mail.MailError as error:
        if is_counted and not error.begun:
            throttle.undo(*counters)
            owed.details = {**owed.details, "counted": False}
        raise
    if not is_counted:
        with suppress(ApiError):  # another mail was counted meanwhile
            _count(user_id, *counters)


def reset(email: str, reg_code: str, password: Password, ip: str) -> int:
    """Set a new password, spend the code, revoke every token and lift every lock, all or nothing.

    :returns: the account's id.
    :raises ApiError: 1003 when the password is the own name or address, 1008.
    """
    refuse_own(password, email)
    address = email_key(email)
    client = clients.known(_id_of(address), ip)
    codes.refuse_hopeless(codes.RESET, address, reg_code, client)
    if not client:
        throttle.SIGN_INS.take()
    # Hash first, because hashing is slow and spending the code locks its row.
    new_hash = crypto.hash_password(password.proof)
    user_id = locks.hold(User.email_key == address)
    codes.spend(codes.RESET, address, reg_code, client)
    if user_id is None:  # somebody guessed the code of an address without an account
        db.session.commit()
        raise ApiError(Code.WRONG_CODE)
    _refuse_own_name(password, user_id)
    set_hash(user_id, new_hash)
    throttle.clear_account(user_id, limits.PASSWORD_LOCKS)
    db.session.commit()
    return user_id


def _refuse_own_name(password: Password, user_id: int) -> None:
    """Refuse the name of the account, and roll back, so that its code stays valid.

    Only the right code learns that. Before it, the refusal would tell whose address this is.
    """
    try:
        name = db.session.scalar(select(User.user_name).where(User.id == user_id))
        refuse_own(password, name or "")
    except ApiError:
        db.session.rollback()
        raise
