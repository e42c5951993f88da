"""What operators run. Skip this package on a first reading.

command.py  the console script gateway
cli/        its commands
doctor/     finds faults of an installation
backup.py   copies SQLite to a file
copy.py     copies between databases
export.py   everything about a person
"""
