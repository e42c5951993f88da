"""An API with keys as most people write it with FastAPI and SQLAlchemy: read, check, add one.

``python plain_app.py 200 1000`` makes a key for each quota and prints the keys. The columns are
those that one needs; the key is stored as a digest.
"""

import hashlib
import os
import secrets
import sys

from fastapi import Depends, FastAPI, Header, HTTPException
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

engine = create_engine(os.environ["DATABASE_URL"])
app = FastAPI()


class Base(DeclarativeBase):
    pass


class ApiKey(Base):
    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(unique=True)
    quota: Mapped[int]
    used: Mapped[int] = mapped_column(default=0)


def database():
    with Session(engine) as session:
        yield session


def digest(key):
    return hashlib.sha256(key.encode()).hexdigest()


@app.get("/verify", status_code=204)
def verify(x_api_key: str = Header(), session: Session = Depends(database)):  # noqa: B008
    key = session.scalar(select(ApiKey).where(ApiKey.digest == digest(x_api_key)))
    if key is None:
        raise HTTPException(401, "Unknown key")
    if key.used >= key.quota:
        raise HTTPException(429, "The quota is used up")
    key.used += 1
    session.commit()


if __name__ == "__main__":
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        for quota in sys.argv[1:]:
            made = secrets.token_urlsafe(32)
            session.add(ApiKey(digest=digest(made), quota=int(quota)))
            print(made)
        session.commit()
