"""What the fixtures of ``gateway.testing`` are made of; loaded with the first of them.

apps.py         applications, each on a database of its own
databases.py    copies of a migrated template, on SQLite or Postgres
mailbox.py      the mails of a test and their codes
people.py       accounts and projects, made through HTTP
moving_clock.py the clock that a test moves
"""
